package bottlefile

import "sync"

// attrDoc is what the reference says of an attribute beyond its schema.
type attrDoc struct {
	example string // an expression
	unit    string // of a number
}

// attrDocs has an entry for every attribute, by the path of blocks that leads to
// it; a test holds it.
var attrDocs = sync.OnceValue(func() map[string]attrDoc {
	return map[string]attrDoc{
		"bottlebuild.required_version": {example: `">= 0.2, < 1.0"`},

		"variable.type":                     {example: `list(string)`},
		"variable.default":                  {example: `["api.example.com"]`},
		"variable.description":              {example: `"Hosts that agents may reach."`},
		"variable.sensitive":                {example: `true`},
		"variable.nullable":                 {example: `false`},
		"variable.validation.condition":     {example: `length(var.hosts) > 0`},
		"variable.validation.error_message": {example: `"At least one host is needed."`},

		"dynamic.for_each": {example: `var.ports`},
		"dynamic.iterator": {example: `p`},
		"dynamic.labels":   {example: `[file.key]`},

		"registry.embedded": {example: `true`},
		"registry.url":      {example: `"registry.example.com/acme"`},
		"registry.insecure": {example: `true`},

		"cache.url":      {example: `"registry.example.com/acme"`},
		"cache.mode":     {example: `"rw"`},
		"cache.scope":    {example: `"pr"`},
		"cache.trust":    {example: `["ed25519:mC4uFlcB0fUQDAGhfnTgLqxHkTNVRVLsfUnpDpkSa7s="]`},
		"cache.ca":       {example: `"certs/registry-ca.pem"`},
		"cache.cert":     {example: `"certs/client.pem"`},
		"cache.key":      {example: `"certs/client-key.pem"`},
		"cache.insecure": {example: `true`},

		"secret.env":     {example: `"AGENT_TOKEN"`},
		"secret.file":    {example: `"secrets/token"`},
		"secret.command": {example: `["pass", "show", "agent"]`},
		"secret.version": {example: `"2"`},

		"image.secrets":         {example: `{ token = secret.token }`},
		"image.annotations":     {example: `{ "org.opencontainers.image.title" = "web" }`},
		"image.network":         {example: `"none"`},
		"image.shm_size":        {example: `"128MiB"`},
		"image.ulimits":         {example: `["nofile=1024:2048"]`},
		"image.add_hosts":       {example: `{ "mirror.example.com" = "192.0.2.7" }`},
		"image.entitlements":    {example: `["network.host"]`},
		"image.ssh":             {example: `["default"]`},
		"image.cache_from":      {example: `["type=registry,ref=registry.example.com/acme/cache"]`},
		"image.cache_to":        {example: `["type=inline"]`},
		"image.no_cache_filter": {example: `["download"]`},
		"image.pull":            {example: `true`},
		"image.max_age":         {example: `"168h"`},
		"image.attest":          {example: `[]`},

		"image.for_each":          {example: `{ claude = 1, codex = 2 }`},
		"image.context":           {example: `"images/web"`},
		"image.dockerfile":        {example: `"docker/web.Dockerfile"`},
		"image.dockerfile_inline": {example: `"FROM scratch\nCOPY server /\n"`},
		"image.target":            {example: `"release"`},
		"image.args":              {example: `{ NODE = "22" }`},
		"image.labels":            {example: `{ "org.opencontainers.image.title" = "web" }`},
		"image.contexts":          {example: `{ base = image.base, lib = "./lib" }`},
		"image.platforms":         {example: `["linux/amd64", "linux/arm64"]`},
		"image.no_cache":          {example: `true`},
		"image.reproducible":      {example: `false`},

		"bottle.for_each": {example: `toset(["ada", "grace"])`},
		"bottle.image":    {example: `image.web`},
		"bottle.backend":  {example: `"container"`},
		"bottle.runtime":  {example: `"crun"`},

		"bottle.export.path":     {example: `"dist/web.tar"`},
		"bottle.export.format":   {example: `"docker"`},
		"bottle.push.registry":   {example: `registry.prod`},
		"bottle.push.repository": {example: `"agents/web"`},
		"bottle.push.tags":       {example: `["dev", "1.2"]`},
		"bottle.pack.platform":   {example: `"linux/arm64"`},

		"bottle.machine.name":      {example: `"web-1"`},
		"bottle.machine.cpus":      {example: `4`, unit: "processors"},
		"bottle.machine.memory":    {example: `"6GiB"`},
		"bottle.machine.storage":   {example: `"20GiB"`},
		"bottle.machine.env":       {example: `{ LANG = "C.UTF-8" }`},
		"bottle.machine.user":      {example: `"node"`},
		"bottle.machine.workdir":   {example: `"/home/node"`},
		"bottle.machine.replace":   {example: `"always"`},
		"bottle.machine.secrets":   {example: `{ TOKEN = secret.token }`},
		"bottle.machine.restart":   {example: `"on-failure"`},
		"bottle.machine.on_error":  {example: `"keep"`},
		"bottle.machine.self_test": {example: `false`},

		"bottle.machine.network.open":                {example: `true`},
		"bottle.machine.network.allow_hosts":         {example: `["api.example.com"]`},
		"bottle.machine.network.allow_cidrs":         {example: `["10.0.0.0/8"]`},
		"bottle.machine.file.content":                {example: `"zone = UTC\n"`},
		"bottle.machine.file.source":                 {example: `"files/ca.pem"`},
		"bottle.machine.file.mode":                   {example: `"0600"`},
		"bottle.machine.file.owner":                  {example: `"node:node"`},
		"bottle.machine.port.host":                   {example: `8081`, unit: "TCP port"},
		"bottle.machine.port.guest":                  {example: `80`, unit: "TCP port"},
		"bottle.machine.volume.host":                 {example: `"./src"`},
		"bottle.machine.volume.name":                 {example: `"sessions"`},
		"bottle.machine.volume.guest":                {example: `"/workspace"`},
		"bottle.machine.volume.readonly":             {example: `true`},
		"bottle.machine.provision.exec":              {example: `["chown", "-R", "node", "/home/node"]`},
		"bottle.machine.provision.user":              {example: `"node"`},
		"bottle.machine.provision.env":               {example: `{ DEBIAN_FRONTEND = "noninteractive" }`},
		"bottle.machine.provision.timeout":           {example: `"5m"`},
		"bottle.machine.provision.retries":           {example: `2`, unit: "attempts"},
		"bottle.machine.provision.continue_on_error": {example: `true`},
		"bottle.machine.check.exec":                  {example: `["node", "--version"]`},
		"bottle.machine.check.user":                  {example: `"node"`},
		"bottle.machine.check.timeout":               {example: `"10s"`},
		"bottle.machine.check.retries":               {example: `3`, unit: "attempts"},
		"bottle.machine.ready.exec":                  {example: `["test", "-w", "/home/node"]`},
		"bottle.machine.ready.tcp":                   {example: `80`, unit: "TCP port"},
		"bottle.machine.ready.http":                  {example: `"http://:80/healthz"`},
		"bottle.machine.ready.timeout":               {example: `"2m"`},
		"bottle.machine.ready.interval":              {example: `"250ms"`},

		"group.targets": {example: `[bottle.agent, image.base]`},

		"output.value":       {example: `bottle.web.pack.digest`},
		"output.description": {example: `"What the machine is made from."`},
		"output.sensitive":   {example: `true`},
	}
})

// typeNotes says how values that a type alone says too little of are written,
// with their units.
var typeNotes = []struct{ name, text string }{
	{"size", "A string of a number and a unit: `KiB`, `MiB`, `GiB` or `TiB` (powers of 1024)."},
	{"duration", "A string of a number and a unit: `ms`, `s`, `m` or `h`; at most `24h`, of `max_age` `8760h`."},
	{"platform", "`OS/ARCHITECTURE`, with `/VARIANT` if needed: `linux/amd64`, `linux/arm/v7`."},
	{"path", "A path of the host; a relative one is relative to the bottle file."},
	{"path in the machine", "An absolute path."},
	{"octal string", "Permission bits as three octal digits in quotes, with a leading zero if wanted."},
	{"image or image reference", "`image.NAME`, `image.NAME[KEY]`, or a reference in quotes."},
	{"DNS label", "Up to 63 lower-case letters, digits and hyphens, with no hyphen at either end."},
}

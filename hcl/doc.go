// Package bottlefile reads bottle files and compiles them into a graph of nodes.
//
// A bottle file is written in HCL. [Load] parses it, evaluates everything that
// can be known before anything runs, checks the rest as far as its types allow,
// and reports every fault it finds at once. [File.Nodes] then hands out the
// nodes of the targets that a user asks for.
//
// An expression may use what is known only after a dependency has run, such as
// image.base.digest. Such values are unknown, typed and marked with the address
// of the node that yields them while the file is compiled: the marks, which
// follow a value through locals, functions and templates, become the edges of
// the graph. The Bind function of a node that uses one evaluates its block again
// when the outputs are there.
//
// The language is declared by [Schema], from which names and types are checked.
package bottlefile

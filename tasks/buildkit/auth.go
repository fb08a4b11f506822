package buildkit

import (
	"context"

	"github.com/docker/cli/cli/config/types"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/session/auth/authprovider"
)

// authProvider lets the daemon ask this process for credentials, which it uses
// to fetch tokens; a daemon on another machine never keeps them.
func authProvider(keychain authn.Keychain) session.Attachable {
	return authprovider.NewDockerAuthProvider(authprovider.DockerAuthProviderConfig{
		AuthConfigProvider: func(ctx context.Context, host string, _ []string, _ authprovider.ExpireCachedAuthCheck) (types.AuthConfig, error) {
			if keychain == nil {
				return types.AuthConfig{}, nil
			}
			if host == authprovider.DockerHubRegistryHost {
				host = name.DefaultRegistry
			}
			registry, err := name.NewRegistry(host)
			if err != nil {
				return types.AuthConfig{}, err
			}
			a, err := authn.Resolve(ctx, keychain, registry)
			if err != nil {
				return types.AuthConfig{}, err
			}
			c, err := authn.Authorization(ctx, a)
			if err != nil {
				return types.AuthConfig{}, err
			}
			return types.AuthConfig{
				Username: c.Username, Password: c.Password, Auth: c.Auth,
				IdentityToken: c.IdentityToken, RegistryToken: c.RegistryToken,
				ServerAddress: host,
			}, nil
		},
	})
}

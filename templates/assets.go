package templates

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"io/fs"
)

// Assets holds the files in assets/: style sheet, script and logo. They are served below /assets/.
//
//go:embed assets
var Assets embed.FS

// assetPaths maps the names of the assets to their paths.
var assetPaths = func() map[string]string {
	paths := make(map[string]string)
	err := fs.WalkDir(Assets, "assets", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		body, err := Assets.ReadFile(name)
		if err != nil {
			return err
		}
		sum := sha256.Sum256(body)
		paths[name[len("assets/"):]] = "/" + name + "?v=" + hex.EncodeToString(sum[:6])
		return nil
	})
	if err != nil {
		panic("templates: embedded assets: " + err.Error())
	}
	return paths
}()

// AssetPath returns the path of an asset: "/assets/", its name, and a query that changes with its content, so that
// browsers can cache it forever. It panics if there is no such asset, which is a bug in this package.
func AssetPath(name string) string {
	path, ok := assetPaths[name]
	if !ok {
		panic("templates: no asset " + name)
	}
	return path
}

// IsAssetPath reports whether path, with its query, is the AssetPath of an asset.
func IsAssetPath(path string) bool {
	for _, p := range assetPaths {
		if p == path {
			return true
		}
	}
	return false
}

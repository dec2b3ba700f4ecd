package templates

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"io/fs"
)

// Assets holds the files under assets/: style sheet, script and mark. They are
// served below /assets/.
//
//go:embed assets
var Assets embed.FS

// assetPaths is filled once: the files are part of the binary.
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

// AssetPath returns the path that a page names for the asset: "/assets/", its
// name, and a query that changes with its content, so that the answer may be
// cached for good. It panics when there is no such asset, which is a fault in
// this package.
func AssetPath(name string) string {
	path, ok := assetPaths[name]
	if !ok {
		panic("templates: no asset " + name)
	}
	return path
}

// IsAssetPath reports whether path is the address of an asset as it is now.
func IsAssetPath(path string) bool {
	for _, p := range assetPaths {
		if p == path {
			return true
		}
	}
	return false
}

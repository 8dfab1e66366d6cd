// Writes into table.json what docker build keeps of its files under each of its ignore files: "k" is kept, "-" is not,
// one sign for each file; or "error". BuildKit reads the file by patternmatcher/ignorefile and sends what fsutil lets through.
//
// To ask again, after new ignore files were added with any verdict:
//
//	go mod init oracle && go get github.com/moby/patternmatcher@v0.6.1 \
//	  github.com/tonistiigi/fsutil@v0.0.0-20251211185533-a2aa163d723f && go mod tidy && go run . && rm go.mod go.sum
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/moby/patternmatcher/ignorefile"
	"github.com/tonistiigi/fsutil"
)

type table struct {
	Files []string    `json:"files"`
	Cases [][2]string `json:"cases"`
}

func kept(root, ignore string) (map[string]bool, error) {
	patterns, err := ignorefile.ReadAll(strings.NewReader(ignore))
	if err != nil {
		return nil, err
	}
	tree, err := fsutil.NewFS(root)
	must(err)
	filtered, err := fsutil.NewFilterFS(tree, &fsutil.FilterOpt{ExcludePatterns: patterns})
	if err != nil {
		return nil, err
	}
	found := map[string]bool{}
	err = filtered.Walk(context.Background(), "", func(path string, _ fs.DirEntry, err error) error {
		found[path] = true
		return err
	})
	return found, err
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func main() {
	text, err := os.ReadFile("table.json")
	must(err)
	var data table
	must(json.Unmarshal(text, &data))
	root, err := os.MkdirTemp("", "dockerignore")
	must(err)
	defer os.RemoveAll(root)
	for _, name := range data.Files {
		must(os.MkdirAll(filepath.Dir(filepath.Join(root, name)), 0o755))
		must(os.WriteFile(filepath.Join(root, name), nil, 0o644))
	}
	for index := range data.Cases {
		found, err := kept(root, data.Cases[index][0])
		verdicts := ""
		for _, name := range data.Files {
			if found[name] {
				verdicts += "k"
			} else {
				verdicts += "-"
			}
		}
		if err != nil {
			verdicts = "error"
		}
		data.Cases[index][1] = verdicts
	}
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", " ")
	must(encoder.Encode(data))
	must(os.WriteFile("table.json", out.Bytes(), 0o644))
}

// Reads a layer as Go programs do: docker, podman, umoci and skopeo by archive/tar and compress/gzip, containerd's
// snapshotter by its own library. Prints one line for each entry.
package main

import (
	"archive/tar"
	"bufio"
	"compress/gzip"
	"crypto/sha256"
	"fmt"
	"io"
	"os"

	"github.com/containerd/stargz-snapshotter/estargz"
	"github.com/opencontainers/go-digest"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) == 0 {
		return fmt.Errorf("usage: read tar FILE... | read estargz FILE DIGEST")
	}
	switch args[0] {
	case "tar":
		for _, name := range args[1:] {
			if err := readTar(name); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
		return nil
	case "estargz":
		return readEstargz(args[1], digest.Digest(args[2]))
	}
	return fmt.Errorf("%q is not known", args[0])
}

func readTar(name string) error {
	file, err := os.Open(name)
	if err != nil {
		return err
	}
	defer file.Close()
	var from io.Reader = bufio.NewReader(file)
	if magic, err := from.(*bufio.Reader).Peek(2); err == nil && magic[0] == 0x1f && magic[1] == 0x8b {
		if from, err = gzip.NewReader(from); err != nil {
			return err
		}
	}
	archive := tar.NewReader(from)
	for {
		header, err := archive.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		sum := sha256.New()
		size, err := io.Copy(sum, archive)
		if err != nil {
			return fmt.Errorf("%s: %w", header.Name, err)
		}
		fmt.Printf("%c %q %o %d %x %q\n", header.Typeflag, header.Name, header.Mode, size, sum.Sum(nil), header.Linkname)
	}
	// The rest, so that checksums at the end are verified.
	_, err = io.Copy(io.Discard, from)
	return err
}

func readEstargz(name string, toc digest.Digest) error {
	file, err := os.Open(name)
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	reader, err := estargz.Open(io.NewSectionReader(file, 0, info.Size()))
	if err != nil {
		return err
	}
	verifier, err := reader.VerifyTOC(toc)
	if err != nil {
		return err
	}
	root, ok := reader.Lookup("")
	if !ok {
		return fmt.Errorf("there is no root")
	}
	return walk(reader, verifier, root)
}

func walk(reader *estargz.Reader, verifier estargz.TOCEntryVerifier, directory *estargz.TOCEntry) (err error) {
	directory.ForeachChild(func(_ string, entry *estargz.TOCEntry) bool {
		switch {
		case entry.Type == "dir":
			err = walk(reader, verifier, entry)
		case entry.Type == "reg" && entry.Size > 0:
			err = check(reader, verifier, entry)
		}
		return err == nil
	})
	return err
}

// Each chunk is read by its range of the file and verified.
func check(reader *estargz.Reader, verifier estargz.TOCEntryVerifier, entry *estargz.TOCEntry) error {
	content, err := reader.OpenFile(entry.Name)
	if err != nil {
		return err
	}
	chunks := 0
	for at := int64(0); at < entry.Size; chunks++ {
		chunk, ok := reader.ChunkEntryForOffset(entry.Name, at)
		if !ok || chunk.ChunkSize == 0 {
			return fmt.Errorf("%s: no chunk at %d", entry.Name, at)
		}
		sum, err := verifier.Verifier(chunk)
		if err != nil {
			return err
		}
		// At once, for the library inflates a chunk from its start for each read.
		bytes := make([]byte, chunk.ChunkSize)
		if _, err := content.ReadAt(bytes, at); err != nil && err != io.EOF {
			return err
		}
		if sum.Write(bytes); !sum.Verified() {
			return fmt.Errorf("%s: the chunk at %d has another digest", entry.Name, at)
		}
		at += chunk.ChunkSize
	}
	fmt.Printf("%q %d in %d\n", entry.Name, entry.Size, chunks)
	return nil
}

// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"kmend/internal/run"
)

// deb is one version of a binary package as the package lists describe it.
type deb struct {
	Name, Version, Arch string
	Depends             string
	Size                int64
	SHA256              string
}

// file is the name under which apt-get download stores it.
func (d deb) file() string {
	return fmt.Sprintf("%s_%s_%s.deb", d.Name, strings.ReplaceAll(d.Version, ":", "%3a"), d.Arch)
}

// aptShow returns what the package lists know of some packages, all versions.
// Names that do not exist are left out.
func aptShow(ctx context.Context, names ...string) ([]deb, error) {
	if len(names) == 0 {
		return nil, nil
	}
	out, err := run.Run(ctx, run.Cmd{Argv: append([]string{"apt-cache", "show", "--"}, names...), Env: aptEnv(), Limit: 64 << 20})
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	// Status 100 is "no packages found".
	var rerr *run.Error
	if err != nil && !(errors.As(err, &rerr) && rerr.Exit == 100 && out != nil) {
		return nil, fmt.Errorf("ask the package lists: %w", err)
	}
	return parseStanzas(out.Stdout), nil
}

// aptEnv keeps the caller's settings for apt (proxies, APT_CONFIG), in the C
// locale.
func aptEnv() []string { return append(os.Environ(), "LC_ALL=C") }

// parseStanzas reads control paragraphs; folded lines are not needed.
func parseStanzas(data []byte) []deb {
	var out []deb
	var d deb
	flush := func() {
		if d.Name != "" {
			out = append(out, d)
		}
		d = deb{}
	}
	sc := bufio.NewScanner(bytes.NewReader(data))
	sc.Buffer(nil, 4<<20)
	for sc.Scan() {
		line := sc.Text()
		if line == "" {
			flush()
			continue
		}
		key, value, _ := strings.Cut(line, ": ")
		switch key {
		case "Package":
			d.Name = value
		case "Version":
			d.Version = value
		case "Architecture":
			d.Arch = value
		case "Depends":
			d.Depends = value
		case "Size":
			d.Size, _ = strconv.ParseInt(value, 10, 64) // 0 fails the check after the download
		case "SHA256":
			d.SHA256 = value
		}
	}
	flush()
	return out
}

var imageRE = regexp.MustCompile(`^linux-image-(\d+\.\d+\.\d+\S*-amd64)$`)

// aptImages lists the amd64 kernel images that the package lists have.
func aptImages(ctx context.Context) ([]deb, error) {
	out, err := run.Run(ctx, run.Cmd{Argv: []string{"apt-cache", "search", "--names-only", `^linux-image-[0-9].*-amd64$`}, Env: aptEnv()})
	if err != nil {
		return nil, fmt.Errorf("ask the package lists: %w", err)
	}
	var names []string
	for _, line := range strings.Split(string(out.Stdout), "\n") {
		if name, _, _ := strings.Cut(line, " "); imageRE.MatchString(name) {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return nil, errors.New("the package lists have no kernel image for amd64; run: apt-get update")
	}
	return aptShow(ctx, names...)
}

// downloadDir is where verified packages are kept.
func downloadDir() (string, error) {
	base, err := run.CacheDir()
	if err != nil {
		return "", err
	}
	return filepath.Join(base, "downloads"), nil
}

// verifyDeb checks size and SHA-256 against the package lists.
func verifyDeb(path string, d deb) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	h := sha256.New()
	n, err := io.Copy(h, f)
	if err != nil {
		return err
	}
	if sum := hex.EncodeToString(h.Sum(nil)); n != d.Size || sum != d.SHA256 {
		return fmt.Errorf("%s has %d bytes and SHA-256 %.16s…, the package lists say %d and %.16s…", filepath.Base(path), n, sum, d.Size, d.SHA256)
	}
	return nil
}

// fetch returns the paths of the packages, in order: verified ones from the
// download directory, the rest through apt-get download (nothing is
// installed), verified before they are kept.
func (a *adder) fetch(ctx context.Context, debs []deb) ([]string, error) {
	dir, err := downloadDir()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make the download directory: %w", err)
	}
	var total, have int64
	paths := make([]string, len(debs))
	var missing []deb
	for i, d := range debs {
		total += d.Size
		paths[i] = filepath.Join(dir, d.file())
		if verifyDeb(paths[i], d) == nil {
			have += d.Size
		} else {
			missing = append(missing, d)
		}
	}
	a.progress(PhaseDownload, have, total)
	if len(missing) == 0 {
		return paths, nil
	}
	if err := a.download(ctx, dir, missing, have, total); err != nil {
		return nil, err
	}
	a.progress(PhaseDownload, total, total)
	return paths, nil
}

func (a *adder) download(ctx context.Context, dir string, debs []deb, have, total int64) error {
	if err := checkSpace(dir, total-have+64<<20); err != nil {
		return err
	}
	tmp, err := os.MkdirTemp(a.dir, "download-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	argv := []string{"apt-get", "download", "-q", "-o", "APT::Sandbox::User=root", "--"}
	for _, d := range debs {
		argv = append(argv, d.Name+"="+d.Version)
	}
	stop := watchSize(tmp, func(n int64) { a.progress(PhaseDownload, min(have+n, total), total) })
	err = a.step().run(ctx, command{argv: argv, dir: tmp, env: aptEnv()})
	stop()
	if err != nil {
		return fmt.Errorf("download packages: %w", err)
	}
	for _, d := range debs {
		p := filepath.Join(tmp, d.file())
		if err := verifyDeb(p, d); err != nil {
			return fmt.Errorf("verify downloaded packages: %w; run: apt-get update", err)
		}
		if err := os.Rename(p, filepath.Join(dir, d.file())); err != nil {
			return fmt.Errorf("keep downloaded package: %w", err)
		}
	}
	return nil
}

// watchSize reports the bytes in a directory twice a second until stopped.
func watchSize(dir string, report func(int64)) (stop func()) {
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(500 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
			}
			var n int64
			filepath.WalkDir(dir, func(_ string, e os.DirEntry, err error) error {
				if err != nil || e.IsDir() {
					return nil
				}
				if info, err := e.Info(); err == nil {
					n += info.Size()
				}
				return nil
			})
			report(n)
		}
	}()
	return func() { close(done); <-ended }
}

// tarMember tells whether a path in a package is the one that is wanted;
// pattern is as path.Match has it, without "./".
func tarMember(pattern, name string) bool {
	ok, err := path.Match(pattern, strings.TrimPrefix(name, "./"))
	return err == nil && ok
}

// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"kmend/internal/nearest"
)

// debian adds a stock kernel of Debian from its packages, all of the same
// version: the image (vmlinuz and modules), the headers (configuration,
// Module.symvers and generated files, to compare ours with) and the source.
// Packages are downloaded and unpacked; nothing is installed.
type debian struct {
	want string // "6.1.0-50-amd64" or "6.1.176-1"

	abi                     string
	image                   deb
	headers, common, kbuild deb
	source                  deb
}

// spaceNeeded is what an entry takes: source 1.5 GB, packages 0.5 GB, image,
// O= directory, and room for the objects of later builds.
const spaceNeeded = 3 << 30

// entryName is the ABI name (what uname -r prints).
func (d *debian) entryName(ctx context.Context) (string, error) {
	if imageRE.MatchString("linux-image-" + d.want) {
		d.abi = d.want
		return d.abi, nil
	}
	// A package version: perhaps it is in the store, else ask apt.
	if all, err := List(); err == nil {
		for _, k := range all {
			if k.Provider == "debian" && k.Version == d.want {
				d.abi = k.Release
				return k.Name, nil
			}
		}
	}
	if err := d.findImage(ctx); err != nil {
		return "", err
	}
	return d.abi, nil
}

// findImage chooses the image package: by ABI name, or by package version (of
// the plain amd64 flavour).
func (d *debian) findImage(ctx context.Context) error {
	if err := checkTools(ctx, downloadTools, nil); err != nil {
		return err
	}
	images, err := aptImages(ctx)
	if err != nil {
		return err
	}
	plain := regexp.MustCompile(`^\d+\.\d+\.\d+(-\d+|[+~.\w]*)-amd64$`)
	var names []string
	for _, im := range images {
		abi := imageRE.FindStringSubmatch(im.Name)[1]
		if abi == d.want || im.Version == d.want && plain.MatchString(abi) {
			if d.image.Name == "" || compareVersions(im.Version, d.image.Version) > 0 {
				d.image, d.abi = im, abi
			}
		}
		names = append(names, abi)
		if plain.MatchString(abi) {
			names = append(names, im.Version)
		}
	}
	if d.image.Name != "" {
		return nil
	}
	slices.SortFunc(names, func(a, b string) int { return compareVersions(b, a) })
	names = slices.Compact(names)
	near := nearest.Names(d.want, names, 5)
	if len(near) == 0 {
		near = names[:min(len(names), 5)]
	}
	return fmt.Errorf("the package lists have no kernel %s; there is %s; older ones leave the archive, new ones come with apt-get update", d.want, strings.Join(near, ", "))
}

// findPackages finds the other packages of the image's version.
func (d *debian) findPackages(ctx context.Context) error {
	if d.image.Name == "" {
		if err := d.findImage(ctx); err != nil {
			return err
		}
	}
	if strings.Contains(d.abi, "-rt-") {
		return errors.New("PREEMPT_RT kernels are not supported: linux-source lacks the patch they are built with")
	}
	version := d.image.Version
	pick := func(name string) (deb, error) {
		list, err := aptShow(ctx, name)
		if err != nil {
			return deb{}, err
		}
		var have []string
		for _, p := range list {
			if p.Version == version {
				return p, nil
			}
			have = append(have, p.Version)
		}
		if len(have) == 0 {
			have = []string{"none"}
		}
		return deb{}, fmt.Errorf("%s %s is needed for image %s, but the package lists have %s; run apt-get update, or add a kernel whose packages are all there", name, version, d.abi, strings.Join(have, ", "))
	}
	var err error
	if d.headers, err = pick("linux-headers-" + d.abi); err != nil {
		return err
	}
	// The headers' dependencies name the other two.
	m := regexp.MustCompile(`linux-headers-[^\s,]*-common[^\s,]*|linux-kbuild-(\d+\.\d+[^\s,]*)`).FindAllStringSubmatch(d.headers.Depends, -1)
	series := ""
	for _, x := range m {
		p := &d.common
		if x[1] != "" {
			p, series = &d.kbuild, x[1]
		}
		if *p, err = pick(x[0]); err != nil {
			return err
		}
	}
	if series == "" || d.common.Name == "" {
		return fmt.Errorf("%s %s depends on %q: its common headers and linux-kbuild were expected", d.headers.Name, version, d.headers.Depends)
	}
	// linux-kbuild may be named after the ABI, linux-source is not.
	if s := regexp.MustCompile(`^\d+\.\d+`).FindString(series); s != "" {
		d.source, err = pick("linux-source-" + s)
	}
	return err
}

func (d *debian) fill(ctx context.Context, a *adder) (*Kernel, error) {
	if err := checkTools(ctx, append(slices.Clone(downloadTools), buildTools...), buildHeaders); err != nil {
		return nil, err
	}
	if err := checkSpace(a.dir, spaceNeeded); err != nil {
		return nil, err
	}
	if err := d.findPackages(ctx); err != nil {
		return nil, err
	}
	var paths []string
	err := a.timed(PhaseDownload, func() (err error) {
		paths, err = a.fetch(ctx, []deb{d.image, d.headers, d.common, d.kbuild, d.source})
		return err
	})
	if err != nil {
		return nil, err
	}
	k := d.describe(a.dir)
	err = a.timed(PhaseUnpack, func() error { return d.unpack(ctx, a, k, paths) })
	if err != nil {
		return nil, err
	}
	if err := a.timed(PhasePrepare, func() error { return d.prepare(ctx, a, k) }); err != nil {
		return nil, err
	}
	return k, a.timed(PhaseCheck, func() error { return d.check(ctx, a, k) })
}

// describe lays out the entry.
func (d *debian) describe(dir string) *Kernel {
	root := filepath.Join(dir, "root")
	headers := filepath.Join(root, "usr/src", d.headers.Name)
	return &Kernel{
		Release: d.abi, Version: d.image.Version,
		SourceDir: filepath.Join(dir, "src"), ObjDir: filepath.Join(dir, "obj"),
		Vmlinux: filepath.Join(dir, "vmlinux"), Bzimage: filepath.Join(root, "boot/vmlinuz-"+d.abi),
		ModulesDir: filepath.Join(root, "lib/modules", d.abi),
		Symvers:    filepath.Join(headers, "Module.symvers"), HeadersDir: headers,
	}
}

// unpack unpacks the packages, and meanwhile the source; the image is read and
// judged as soon as it is there, so that a compiler that does not fit is
// known before the long part.
func (d *debian) unpack(ctx context.Context, a *adder, k *Kernel, paths []string) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		root := filepath.Join(a.dir, "root")
		if err := os.Mkdir(root, 0o755); err != nil {
			return err
		}
		for _, p := range paths[:4] {
			if err := a.step().run(ctx, command{argv: []string{"dpkg-deb", "-x", p, root}}); err != nil {
				return fmt.Errorf("unpack %s: %w", filepath.Base(p), err)
			}
		}
		if err := d.useHeaders(k); err != nil {
			return err
		}
		config, err := os.ReadFile(filepath.Join(k.HeadersDir, ".config"))
		if err != nil {
			return err
		}
		return k.readImage(ctx, parseConfig(config))
	})
	g.Go(func() error {
		if err := a.unpackSource(ctx, paths[4], k.SourceDir); err != nil {
			return fmt.Errorf("unpack %s: %w", filepath.Base(paths[4]), err)
		}
		return nil
	})
	return g.Wait()
}

// useHeaders makes the headers' Makefile, which includes an absolute path
// below /usr/src, work where it was unpacked.
func (d *debian) useHeaders(k *Kernel) error {
	path := filepath.Join(k.HeadersDir, "Makefile")
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	b = []byte(strings.ReplaceAll(string(b), "include /usr/src/", "include "+filepath.Dir(k.HeadersDir)+"/"))
	return writeFile(path, b)
}

// unpackSource streams the source tarball out of its package into tar: it is
// never stored twice.
func (a *adder) unpackSource(ctx context.Context, debPath, dir string) error {
	st, err := os.Stat(debPath)
	if err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	pr, pw := io.Pipe()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		err := a.step().run(ctx, command{argv: []string{"dpkg-deb", "--fsys-tarfile", debPath}, stdout: pw})
		pw.CloseWithError(err)
		return err
	})
	g.Go(func() error {
		tr := tar.NewReader(pr)
		for {
			h, err := tr.Next()
			if err != nil {
				pr.CloseWithError(err)
				return fmt.Errorf("find usr/src/linux-source-*.tar.xz: %w", err)
			}
			if !tarMember("usr/src/linux-source-*.tar.xz", h.Name) {
				continue
			}
			in := &countingReader{r: tr, bytes: func(n int64) { a.progress(PhaseUnpack, min(n, st.Size()-1), st.Size()) }}
			err = a.step().run(ctx, command{
				argv:  []string{"tar", "-x", "-J", "--no-same-owner", "--strip-components=1", "-C", dir, "-f", "-"},
				stdin: in,
			})
			if err == nil {
				_, err = io.Copy(io.Discard, pr) // so that dpkg-deb ends by itself
			}
			pr.CloseWithError(err)
			return err
		}
	})
	err = g.Wait()
	if err == nil {
		a.progress(PhaseUnpack, st.Size(), st.Size())
	}
	return err
}

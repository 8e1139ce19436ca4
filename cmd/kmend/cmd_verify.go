// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"kmend/internal/kernel"
	"kmend/internal/verify"
)

// newVerifyCmd is "kmend verify": would this livepatch do what it says?
func newVerifyCmd(a *app) *cobra.Command {
	var opt verifyOptions
	c := &cobra.Command{
		Use:   "verify MODULE.ko…",
		Short: "Hold anybody's live patch against a kernel, without its source",
		Long: `verify reads livepatch modules, made by whatever tool, and holds them against a
kernel: the functions that they replace, whether each of them is there, can be
redirected and is not freed after the start; what each klp relocation resolves to;
exports and their CRCs, vermagic, the size of struct module, unwind data,
protection against speculation, signature, taint; how much work the load is; and
mistakes that the kernel never complains about. Nothing is loaded, and no source
is needed.

What it finds has a code, listed in docs/verify.md. An objection means that the
load fails, the patch does nothing, the kernel crashes, or that something cannot
be shown to be right; the exit status is 3 then. Warnings and notes do not change
it.

Several modules are taken for ones that are loaded in the order given: which of
them replace the same functions, and which disables which, is told too.

If the kernel is the one that runs, the live patches that are loaded count as
loaded before: what the modules take over from them, what they disable, and what
the kernel will refuse beside them is told. No rights are needed. --loaded=false
leaves that out, and --loaded makes it an error if another kernel runs. What is
loaded on another machine is told by the answer of kmend status --json there:
--loaded-from FILE, - for standard input.

The module may be compressed (xz, gzip, zstd).`,
		Example: `  kmend verify livepatch-fix.ko
  kmend verify -k 6.1.0-50-amd64 kpatch-cve-2026-1.ko
  kmend verify -v livepatch-a.ko livepatch-b.ko
  kmend verify --loaded livepatch-fix.ko
  ssh HOST kmend status --json | kmend verify -k KERNEL --loaded-from - livepatch-fix.ko
  kmend verify --json livepatch-fix.ko | jq '.modules[].report.objections'`,
		Args: cobra.MinimumNArgs(1),
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return []string{"ko", "ko.xz", "ko.gz", "ko.zst"}, cobra.ShellCompDirectiveFilterFileExt
		},
		RunE: func(c *cobra.Command, args []string) error { return a.verify(c.Context(), opt, args) },
	}
	c.Flags().StringVarP(&opt.kernel, "kernel", "k", "", "the kernel to hold them against (default: the running one, or the only one added)")
	_ = c.RegisterFlagCompletionFunc("kernel", completeKernels)
	c.Flags().StringVar(&opt.cert, "cert", "", "certificate (PEM or DER) to judge signatures by, if it is their signer's")
	_ = c.MarkFlagFilename("cert")
	opt.loaded.register(c)
	return c
}

// verifyOptions are the flags of kmend verify.
type verifyOptions struct {
	kernel, cert string
	loaded       loadedOptions
}

// verifyAnswer is the document of kmend verify --json.
type verifyAnswer struct {
	Version    int              `json:"version"`
	Kernel     string           `json:"kernel"`
	BuildID    string           `json:"build_id"`
	Loaded     *verifyLoaded    `json:"loaded"` // nil: not looked at
	Modules    []verifyModule   `json:"modules"`
	Together   []verify.Finding `json:"together"`
	Objections int              `json:"objections"`
}

// verifyModule is one module of a verifyAnswer.
type verifyModule struct {
	Path   string         `json:"path"`
	Size   int            `json:"size"`
	SHA256 string         `json:"sha256"`
	Report *verify.Report `json:"report"`
}

func (a *app) verify(ctx context.Context, opt verifyOptions, files []string) error {
	signatures, err := signaturesOf(opt.cert)
	if err != nil {
		return err
	}
	k, err := kernel.Open(opt.kernel)
	if err != nil {
		return err
	}
	status, err := a.whatIsLoaded(k, &opt.loaded)
	if err != nil {
		return err
	}
	a.Progress.Update("read the kernel", 0, 0)
	v, err := verify.New(k)
	if err != nil {
		return err
	}
	v.Signatures = signatures
	answer := verifyAnswer{Version: 1, Kernel: k.Name, BuildID: k.BuildID, Together: []verify.Finding{}}
	var reports []*verify.Report
	for i, file := range files {
		if err := ctx.Err(); err != nil {
			return err
		}
		a.Progress.Update("verify", int64(i), int64(len(files)))
		m, err := verifyOne(v, file)
		if err != nil {
			return err
		}
		answer.Modules = append(answer.Modules, *m)
		answer.Objections += len(m.Report.Objections)
		reports = append(reports, m.Report)
	}
	loaded := a.loadedFor(v, &answer, status)
	for _, f := range verify.After(loaded, reports) {
		answer.Together = append(answer.Together, f)
		if f.Severity == verify.Objection {
			answer.Objections++
		}
	}
	a.Progress.Done()
	if a.JSON {
		err = a.PrintJSON(answer)
	} else {
		err = a.printVerify(&answer)
	}
	if err == nil && answer.Objections > 0 {
		return &exitError{exitRefused, nil}
	}
	return err
}

func verifyOne(v *verify.Verifier, path string) (*verifyModule, error) {
	data, err := readModule(path)
	if err != nil {
		return nil, err
	}
	m := &verifyModule{Path: path, Size: len(data), SHA256: fmt.Sprintf("%x", sha256.Sum256(data))}
	if data, err = kernel.UnpackModule(data, verify.MaxSize); err != nil {
		return nil, fmt.Errorf("read module %s: %w", path, err)
	}
	if m.Report, err = v.Check(data); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return m, nil
}

// readModule reads a file that anybody may have put there: never more than a
// module can have, and nothing that could go on for ever.
func readModule(path string) ([]byte, error) {
	st, err := os.Stat(path) // before it is opened, which waits for ever for a pipe
	if err != nil {
		return nil, fmt.Errorf("read module: %w", err)
	}
	if !st.Mode().IsRegular() {
		return nil, fmt.Errorf("read module: %s is no file: give a livepatch module (.ko)", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read module: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, verify.MaxSize+1))
	if err != nil {
		return nil, fmt.Errorf("read module %s: %w", path, err)
	}
	if len(data) > verify.MaxSize {
		return nil, fmt.Errorf("read module %s: it has more than %d MB: strip its debug information", path, verify.MaxSize>>20)
	}
	return data, nil
}

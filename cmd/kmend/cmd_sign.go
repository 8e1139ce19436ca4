// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"kmend/internal/kernel"
	"kmend/internal/modsig"
)

type signOptions struct{ key, cert, out, kernel, hash string }

// newSignCmd is "kmend sign": append the signature that a kernel can demand.
func newSignCmd(a *app) *cobra.Command {
	var opt signOptions
	c := &cobra.Command{
		Use:   "sign MODULE.ko",
		Short: "Sign a module as the kernel expects it",
		Long: `sign appends a signature to a copy of the module, as the kernel's own
scripts/sign-file does: a detached CMS signature over the module. A kernel that
enforces signatures (module.sig_enforce, lockdown) loads it if it trusts the
certificate, which must be in its keyrings: compiled in, or enrolled as a machine
owner key.

The hash is the one that the kernel's configuration names
(CONFIG_MODULE_SIG_HASH), with -k or of the running kernel if it was added; else
give --hash. Keys are RSA or ECDSA (P-256, P-384), in PEM; the certificate may be
PEM or DER, and may be in the key's file.`,
		Example: `  kmend sign --key mok.pem --cert mok.crt livepatch-fix.ko -o livepatch-fix-signed.ko
  kmend sign --key mok.pem --cert mok.crt --hash sha512 livepatch-fix.ko -o signed.ko`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeModuleFiles,
		RunE:              func(c *cobra.Command, args []string) error { return a.sign(args[0], opt) },
	}
	f := c.Flags()
	f.StringVar(&opt.key, "key", "", "private `FILE`, PEM")
	f.StringVar(&opt.cert, "cert", "", "certificate `FILE`, PEM or DER (default: the key's file)")
	f.StringVarP(&opt.out, "output", "o", "", "`FILE` to write the signed module to")
	f.StringVarP(&opt.kernel, "kernel", "k", "", "kernel whose configuration names the hash")
	f.StringVar(&opt.hash, "hash", "", "sha256, sha384, sha512, sha224 or sha1")
	_ = c.MarkFlagRequired("key")
	_ = c.MarkFlagRequired("output")
	c.MarkFlagsMutuallyExclusive("kernel", "hash")
	return c
}

// signAnswer is the answer of kmend sign.
type signAnswer struct {
	Version int    `json:"version"`
	Path    string `json:"path"`
	Hash    string `json:"hash"`
	Issuer  string `json:"issuer"`
	Serial  string `json:"serial"`
	Bytes   int    `json:"bytes"` // that were appended
}

func (a *app) sign(file string, opt signOptions) error {
	if opt.cert == "" {
		opt.cert = opt.key
	}
	hash := opt.hash
	if hash == "" {
		var err error
		if hash, err = configuredHash(opt.kernel); err != nil {
			return err
		}
	}
	signed, err := signFile(file, hash, opt)
	if err != nil {
		return err
	}
	_, s, err := modsig.Read(signed)
	if err != nil {
		return fmt.Errorf("read back the signature: %w", err)
	}
	if err := writeWhole(opt.out, signed); err != nil {
		return err
	}
	if a.JSON {
		return a.PrintJSON(signAnswer{Version: 1, Path: opt.out, Hash: hash, Issuer: s.Issuer, Serial: s.Serial, Bytes: s.Size})
	}
	fmt.Fprintf(a.Out, "%s  signed with %s by %s, serial %s (%d bytes more)\n", a.Style.Bold(opt.out), hash, visible(s.Issuer), s.Serial, s.Size)
	return nil
}

// configuredHash is the CONFIG_MODULE_SIG_HASH of a kernel.
func configuredHash(name string) (string, error) {
	k, err := kernel.Open(name)
	if err != nil {
		return "", fmt.Errorf("find the hash that the kernel's configuration names: %w; or give --hash", err)
	}
	hash := k.Config("CONFIG_MODULE_SIG_HASH")
	if hash == "" {
		return "", usageErrorf("kernel %s is built without module signatures; give --hash if you want one nevertheless", k.Name)
	}
	return hash, nil
}

func signFile(file, hashName string, opt signOptions) ([]byte, error) {
	hash, err := modsig.Hash(hashName)
	if err != nil {
		return nil, &exitError{exitUsage, err}
	}
	module, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read the module: %w", err)
	}
	if !bytes.HasPrefix(module, []byte("\x7fELF")) {
		return nil, fmt.Errorf("sign %s: it is no kernel module (compressed modules are signed before they are compressed)", file)
	}
	text, err := os.ReadFile(opt.key)
	if err != nil {
		return nil, fmt.Errorf("read the private key: %w", err)
	}
	key, err := modsig.ParseKey(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", opt.key, err)
	}
	if text, err = os.ReadFile(opt.cert); err != nil {
		return nil, fmt.Errorf("read the certificate: %w", err)
	}
	cert, err := modsig.ParseCertificate(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", opt.cert, err)
	}
	signed, err := modsig.Sign(module, key, cert, hash)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return signed, nil
}

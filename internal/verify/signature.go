// SPDX-License-Identifier: Apache-2.0

package verify

import (
	"bytes"
	"encoding/binary"
)

// Signature is what is known of the signature that is appended to a module.
type Signature struct {
	Bytes  int    `json:"bytes"`  // appended to the module, in all
	Signer string `json:"signer"` // who signed: name, serial or key id of the certificate; "" if that was not read
	Hash   string `json:"hash"`   // such as sha256; "" if that was not read
	// Judged: the signature was checked with its signer's certificate. Without
	// one nothing is known but what the signature says of itself.
	Judged bool `json:"judged"`
}

// SignatureReader reads signatures of modules: who signed, with which hash, and
// whether the signature fits. The error says that the kernel would not take the
// module, since the signature cannot be read or is wrong.
type SignatureReader interface {
	ReadSignature(module []byte) (*Signature, error)
}

// sigMagic ends a signed module, behind struct module_signature
// (include/linux/module_signature.h).
const (
	sigMagic   = "~Module signature appended~\n"
	sigTrailer = 12
	sigPKCS7   = 2 // PKEY_ID_PKCS7
)

// signed reports whether the kernel sees a signature: one of another kind than
// PKCS#7 counts as none (ENOPKG of mod_check_sig).
func signed(data []byte) bool {
	rest, ok := bytes.CutSuffix(data, []byte(sigMagic))
	return ok && (len(rest) < sigTrailer || rest[len(rest)-sigTrailer+2] == sigPKCS7)
}

// signature looks at what is appended. The kernel refuses what it cannot read
// even if it does not ask for signatures (kernel/module/signing.c,
// module_sig_check; kernel/module_signature.c, mod_check_sig).
func (c *checker) signature() {
	if !signed(c.data) {
		if c.k.Config("CONFIG_MODULE_SIG_FORCE") == "y" {
			c.r.find(CodeSigNeeded, "", "sign it with a key that the kernel trusts", "it is not signed, and this kernel is built to take signed modules only (CONFIG_MODULE_SIG_FORCE)")
		} else if c.k.Config("CONFIG_MODULE_SIG") == "y" {
			c.r.find(CodeUnsigned, "", "sign it for such hosts", "it is not signed: a kernel that was started with module.sig_enforce=1, or is locked down as with secure boot, refuses it")
		}
		return
	}
	s, why := trailer(c.data)
	if why == "" && c.Signatures != nil {
		var err error
		if s, err = c.Signatures.ReadSignature(c.data); err != nil {
			why = err.Error()
		}
	}
	if why != "" {
		c.r.find(CodeSigForm, "", "sign it anew, or take the signature off", "its signature is none that the kernel takes, and then it refuses the module even where it asks for none: %.300s", why)
		return
	}
	c.r.Signature = s
	if !s.Judged {
		c.r.find(CodeSignature, "", "check it with the certificate of its signer", "it is signed; whether the signature fits, and whether the kernel trusts the signer, was not looked at (one whom it does not know counts as none)")
	}
}

// trailer reads struct module_signature; why says what is wrong with it.
func trailer(data []byte) (s *Signature, why string) {
	rest := data[:len(data)-len(sigMagic)]
	if len(rest) <= sigTrailer {
		return nil, "the file ends before its description"
	}
	t := rest[len(rest)-sigTrailer:]
	n := binary.BigEndian.Uint32(t[8:])
	switch {
	case uint64(n) >= uint64(len(rest)-sigTrailer):
		return nil, "it says to be longer than the file"
	case t[0]|t[1]|t[3]|t[4]|t[5]|t[6]|t[7] != 0:
		return nil, "fields that must be zero are not"
	}
	return &Signature{Bytes: int(n) + sigTrailer + len(sigMagic)}, ""
}

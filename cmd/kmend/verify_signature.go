// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"strings"

	"kmend/internal/modsig"
	"kmend/internal/verify"
)

// signatures reads module signatures for verify, and judges those of a
// certificate if there is one.
type signatures struct{ cert *x509.Certificate }

// signaturesOf takes the certificate out of a file, "" for none.
func signaturesOf(file string) (signatures, error) {
	if file == "" {
		return signatures{}, nil
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return signatures{}, fmt.Errorf("read certificate: %w", err)
	}
	cert, err := modsig.ParseCertificate(data)
	if err != nil {
		return signatures{}, fmt.Errorf("read certificate %s: %w", file, err)
	}
	return signatures{cert}, nil
}

// ReadSignature says who signed a module, and whether the signature fits if the
// certificate is the signer's.
func (s signatures) ReadSignature(module []byte) (*verify.Signature, error) {
	_, sig, err := modsig.Read(module)
	if err != nil {
		return nil, err
	}
	out := &verify.Signature{Bytes: sig.Size, Signer: fmt.Sprintf("%s, serial %s", sig.Issuer, sig.Serial), Hash: strings.ToLower(strings.ReplaceAll(sig.Hash.String(), "-", ""))}
	if sig.KeyID != nil {
		out.Signer = fmt.Sprintf("key %x", sig.KeyID)
	}
	if s.cert == nil {
		return out, nil
	}
	switch err := sig.Check(s.cert); {
	case errors.Is(err, modsig.ErrOtherSigner):
	case err != nil:
		return nil, err
	default:
		out.Judged = true
	}
	return out, nil
}

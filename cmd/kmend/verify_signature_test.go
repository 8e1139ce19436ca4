// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"testing"
	"time"

	"kmend/internal/modsig"
)

// signer makes a key and its certificate.
func signer(t *testing.T, serial int64) (crypto.Signer, *x509.Certificate) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "kmend test"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return key, cert
}

// TestSignaturesOfModules: a signature is read without a certificate, judged by
// its signer's, left unjudged by another, and an error if the module was changed.
func TestSignaturesOfModules(t *testing.T) {
	key, cert := signer(t, 7)
	_, other := signer(t, 8)
	module := bytes.Repeat([]byte("module"), 100)
	signed, err := modsig.Sign(module, key, cert, crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		what   string
		cert   *x509.Certificate
		judged bool
	}{{"none", nil, false}, {"the signer's", cert, true}, {"another", other, false}} {
		s, err := signatures{c.cert}.ReadSignature(signed)
		if err != nil || s.Judged != c.judged || s.Hash != "sha256" || s.Bytes != len(signed)-len(module) {
			t.Errorf("certificate %s: %+v, %v", c.what, s, err)
		}
	}
	changed := bytes.Clone(signed)
	changed[10] ^= 1
	if s, err := (signatures{cert}).ReadSignature(changed); err == nil {
		t.Errorf("a changed module: %+v", s)
	}
	if s, err := (signatures{}).ReadSignature(module); err == nil {
		t.Errorf("an unsigned module: %+v", s)
	}
}

// SPDX-License-Identifier: Apache-2.0

package modsig

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
)

// ParseKey reads a private key in PEM: PKCS #8, or the older forms for RSA and
// EC. Other blocks, such as a certificate in the same file, are passed over.
func ParseKey(data []byte) (crypto.Signer, error) {
	for {
		var b *pem.Block
		if b, data = pem.Decode(data); b == nil {
			return nil, errors.New("read the private key: there is none in the file: give one in PEM (openssl req -new -x509 -newkey rsa:4096 -nodes -keyout KEY.pem -out CERT.pem)")
		}
		var key any
		var err error
		switch {
		case b.Type == "ENCRYPTED PRIVATE KEY" || strings.Contains(b.Headers["Proc-Type"], "ENCRYPTED"):
			return nil, errors.New("read the private key: it is encrypted: decrypt it to a file that only you can read (openssl pkey -in KEY.pem -out PLAIN.pem)")
		case b.Type == "PRIVATE KEY":
			key, err = x509.ParsePKCS8PrivateKey(b.Bytes)
		case b.Type == "RSA PRIVATE KEY":
			key, err = x509.ParsePKCS1PrivateKey(b.Bytes)
		case b.Type == "EC PRIVATE KEY":
			key, err = x509.ParseECPrivateKey(b.Bytes)
		default:
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read the private key: %w", err)
		}
		signer, ok := key.(crypto.Signer)
		if !ok {
			return nil, fmt.Errorf("read the private key: a %T cannot sign", key)
		}
		return signer, nil
	}
}

// ParseCertificate reads an X.509 certificate in PEM or DER.
func ParseCertificate(data []byte) (*x509.Certificate, error) {
	der := data
	if bytes.Contains(data, []byte("-----BEGIN")) {
		der = nil
		for b, rest := pem.Decode(data); b != nil; b, rest = pem.Decode(rest) {
			if b.Type == "CERTIFICATE" {
				der = b.Bytes
				break
			}
		}
	}
	if der == nil {
		return nil, errors.New("read the certificate: there is none in the file: give one in PEM or DER")
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("read the certificate: %w", err)
	}
	return cert, nil
}

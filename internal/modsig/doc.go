// SPDX-License-Identifier: Apache-2.0

// Package modsig reads and writes the signature that is appended to a kernel
// module (include/linux/module_signature.h, scripts/sign-file.c): the module,
// a detached CMS SignedData (RFC 5652) over it, twelve bytes that say how long
// that is, and a magic string.
//
// It knows the form that the kernel accepts of a module's signature
// (crypto/asymmetric_keys/pkcs7_parser.c, pkcs7_verify.c): one signer without
// signed attributes, RSA (PKCS #1 v1.5) or ECDSA, SHA-1 or SHA-2. It must not
// know what a module contains, or which keys a kernel trusts.
package modsig

// SPDX-License-Identifier: Apache-2.0

package kerneltest

import (
	"errors"
	"os"
	"testing"

	"kmend/internal/kernel"
)

// DefaultName is the stock kernel that the tests were written with. Another
// one can be named in $KMEND_TEST_KERNEL.
const DefaultName = "6.1.0-50-amd64"

// Name is the kernel that the tests use.
func Name() string {
	if name := os.Getenv("KMEND_TEST_KERNEL"); name != "" {
		return name
	}
	return DefaultName
}

// Open returns the kernel that the tests use. If it has not been added, the
// test is skipped with the command that adds it, or fails if $CI or
// $KMEND_REQUIRE_KERNEL is set. Any other trouble with it fails the test.
func Open(t testing.TB) *kernel.Kernel {
	t.Helper()
	k, err := kernel.Open(Name())
	if err == nil {
		return k
	}
	if !notAdded(err) {
		t.Fatalf("open the test kernel: %v", err)
	}
	Missing(t, "%v (add it with: kmend kernel add debian:%s)", err, Name())
	return nil
}

// Missing skips a test that lacks something, saying how to get it, or fails it
// if $CI or $KMEND_REQUIRE_KERNEL is set.
func Missing(t testing.TB, format string, args ...any) {
	t.Helper()
	if Required() {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}

// Required tells whether tests that need a kernel must not be skipped.
func Required() bool {
	return os.Getenv("CI") != "" || os.Getenv("KMEND_REQUIRE_KERNEL") != ""
}

// ModuleData returns the decompressed bytes of a shipped module.
func ModuleData(t testing.TB, k *kernel.Kernel, name string) []byte {
	t.Helper()
	m, err := k.Module(name)
	if err != nil {
		t.Fatal(err)
	}
	data, err := m.Data()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// Image returns the kernel's image, decoded.
func Image(t testing.TB, k *kernel.Kernel) *kernel.Image {
	t.Helper()
	im, err := k.Image()
	if err != nil {
		t.Fatal(err)
	}
	return im
}

func notAdded(err error) bool {
	var nf *kernel.NotFoundError
	return errors.As(err, &nf)
}

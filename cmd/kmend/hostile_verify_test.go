// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"compress/gzip"
	"crypto"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"kmend/internal/hostiletest"
	"kmend/internal/kernel"
	"kmend/internal/kerneltest"
	"kmend/internal/modsig"
	"kmend/internal/ui"
	"kmend/internal/verify"
	"kmend/internal/vm/vmtest"
)

// packers compress modules as distributions do.
var packers = []struct {
	name string
	pack func(t testing.TB, data []byte) []byte
}{
	{"gzip", func(t testing.TB, data []byte) []byte { return packed(t, data, gzip.BestSpeed) }},
	{"zstd", func(t testing.TB, data []byte) []byte {
		w, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1))
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		return w.EncodeAll(data, nil)
	}},
	{"xz", func(t testing.TB, data []byte) []byte {
		cmd := exec.Command("xz", "-0", "--check=crc32")
		cmd.Stdin = bytes.NewReader(data)
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		return out
	}},
}

func packed(t testing.TB, data []byte, level int) []byte {
	var b bytes.Buffer
	w, err := gzip.NewWriterLevel(&b, level)
	if err == nil {
		_, err = w.Write(data)
	}
	if err = errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// signedLivepatch is a livepatch of the stock kernel, signed.
func signedLivepatch(t *testing.T, k *kernel.Kernel) (module, signed []byte, s signatures) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "m.ko")
	data, err := os.ReadFile(filepath.Join(vmtest.BuildModules(t, k, "../../internal/vm/testdata/modules"), "lp_cmdline.ko"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("strip", "--strip-debug", path).CombinedOutput(); err != nil {
		t.Fatalf("strip: %v\n%s", err, out)
	}
	if module, err = os.ReadFile(path); err != nil {
		t.Fatal(err)
	}
	key, cert := signer(t, 7)
	if signed, err = modsig.Sign(module, key, cert, crypto.SHA256); err != nil {
		t.Fatal(err)
	}
	return module, signed, signatures{cert}
}

// hostileVerify is what one goroutine verifies with.
type hostileVerify struct {
	v    *verify.Verifier
	k    *kernel.Kernel
	file string
	a    *app
	out  bytes.Buffer
}

// try verifies a file and prints the answer, as kmend verify does.
func (h *hostileVerify) try(data []byte) (string, error) {
	if err := os.WriteFile(h.file, data, 0o600); err != nil {
		return "not written", err
	}
	h.out.Reset()
	m, err := verifyOne(h.v, h.file)
	outcome := "refused"
	if err != nil {
		h.a.finish(err)
	} else {
		answer := verifyAnswer{Version: 1, Kernel: h.k.Name, BuildID: h.k.BuildID, Modules: []verifyModule{*m, *m}, Together: verify.Together([]*verify.Report{m.Report, m.Report})}
		err = errors.Join(h.a.printVerify(&answer), h.a.PrintJSON(&answer))
		switch {
		case len(m.Report.Objections) > 0:
			outcome = "read with an objection"
		case m.Report.Signature != nil && m.Report.Signature.Judged:
			outcome = "read, and its signature fits"
		default:
			outcome = "read without an objection"
		}
		if err != nil {
			return outcome, err
		}
	}
	if bad := hostiletest.Hidden(h.out.String(), false); bad != "" {
		return outcome, fmt.Errorf("the terminal gets %s", bad)
	}
	return outcome, nil
}

// TestHostileModuleFiles: compressed modules, signatures and plain bytes that were
// changed are refused, or read and printed. What is in a module is the matter of
// TestHostileModules of package verify.
func TestHostileModuleFiles(t *testing.T) {
	k := kerneltest.Open(t)
	module, signed, judge := signedLivepatch(t, k)
	var compressed [][]byte
	for _, p := range packers {
		compressed = append(compressed, p.pack(t, signed))
	}
	count := hostiletest.Share(t, 1000, 20)
	bounds := hostiletest.Bounds{Constant: 600 << 20, PerByte: 100, Memory: 3 << 30}
	got := hostiletest.Run(t, count, bounds, func(int) func(*rand.Rand, int) hostiletest.Case {
		v, err := verify.New(k)
		if err != nil {
			t.Fatal(err)
		}
		v.Signatures = judge
		h := &hostileVerify{v: v, k: k, file: filepath.Join(t.TempDir(), "m.ko")}
		h.a = &app{Out: &h.out, Err: &h.out, Progress: ui.Discard(), Verbose: true}
		if outcome, err := h.try(compressed[1]); err != nil || outcome != "read, and its signature fits" || !strings.Contains(h.out.String(), "lp_cmdline") {
			t.Fatalf("the module as it is: %s, %v\n%s", outcome, err, h.out.String())
		}
		return func(rnd *rand.Rand, i int) hostiletest.Case {
			var data []byte
			switch n := rnd.IntN(100); {
			case n < 40:
				data = append(bytes.Clone(module), hostiletest.Bytes(rnd, signed[len(module):])...)
				if rnd.IntN(4) > 0 && !bytes.HasSuffix(data, []byte("appended~\n")) {
					data = append(data, signed[len(signed)-40+rnd.IntN(13):]...)
				}
			case n < 75:
				data = hostiletest.Bytes(rnd, compressed[rnd.IntN(len(compressed))])
			case n < 90:
				data = packers[rnd.IntN(2)].pack(t, elfMutant(rnd, signed))
			default:
				data = hostiletest.Bytes(rnd, signed)
			}
			return hostiletest.Case{Input: data, Try: func() (string, error) { return h.try(data) }}
		}
	})
	if got["read with an objection"] < count/20 || got["read, and its signature fits"] < count/200 || got["refused"] < count/20 {
		t.Errorf("of %d: %v", count, got)
	}
}

// TestBombsAreBounded: a small file that would unpack to more than a module may
// have is refused, before it takes more memory than that.
func TestBombsAreBounded(t *testing.T) {
	zeros := make([]byte, verify.MaxSize+1<<20)
	copy(zeros, "\x7fELF")
	for _, p := range packers {
		data := p.pack(t, zeros)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		got, err := kernel.UnpackModule(data, verify.MaxSize)
		runtime.ReadMemStats(&after)
		grown := after.TotalAlloc - before.TotalAlloc
		if err == nil || got != nil || len(data) > len(zeros)/50 {
			t.Errorf("%s: %d bytes of %d: %v", p.name, len(got), len(data), err)
		}
		if grown > 8*verify.MaxSize {
			t.Errorf("%s: %d MB were allocated for %d kB", p.name, grown>>20, len(data)>>10)
		}
		t.Logf("%s: %d kB, %d MB allocated: %v", p.name, len(data)>>10, grown>>20, err)
	}
}

// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"math/rand"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// makeBzImage wraps a compressed payload (with its appended size) as the
// setup header describes it, followed by other bytes as a signature would be.
func makeBzImage(payload []byte) []byte {
	const setup = 5 * 512
	b := make([]byte, setup+64)
	b[0x1f1] = 4
	b[0x1fe], b[0x1ff] = 0x55, 0xaa
	copy(b[0x202:], "HdrS")
	binary.LittleEndian.PutUint16(b[0x206:], 0x20f)
	binary.LittleEndian.PutUint32(b[0x248:], 64)
	binary.LittleEndian.PutUint32(b[0x24c:], uint32(len(payload)))
	b = append(b, payload...)
	return append(b, "trailing"...)
}

func withSize(b []byte, n int) []byte {
	return binary.LittleEndian.AppendUint32(b, uint32(n))
}

// codeLike is data that compresses, with x86 calls in it so that the BCJ
// filter has something to change.
func codeLike(n int) []byte {
	r := rand.New(rand.NewSource(1))
	b := []byte("\x7fELF")
	for len(b) < n {
		b = append(b, 0x55, 0x48, 0x89, 0xe5, 0xe8)
		b = binary.LittleEndian.AppendUint32(b, uint32(r.Intn(1<<20)))
		b = append(b, bytes.Repeat([]byte{0x90}, r.Intn(30))...)
	}
	return b[:n]
}

// compressed returns plain in every compression that is supported, with the
// programs and options of the kernel's build where they exist as programs.
func compressed(t testing.TB, plain []byte) map[string][]byte {
	t.Helper()
	out := map[string][]byte{}
	var gz bytes.Buffer
	w := gzip.NewWriter(&gz)
	w.Write(plain)
	w.Close()
	out["gzip"] = gz.Bytes() // its own trailer is the size
	z, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	out["zstd"] = withSize(z.EncodeAll(plain, nil), len(plain))
	out["lz4"] = legacyLZ4(t, plain)
	if _, err := exec.LookPath("xz"); err == nil {
		// scripts/xz_wrap.sh for x86
		cmd := exec.Command("xz", "--check=crc32", "--x86", "--lzma2=dict=32MiB", "-c")
		cmd.Stdin, cmd.Stderr = bytes.NewReader(plain), os.Stderr
		b, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		out["xz"] = withSize(b, len(plain))
	} else {
		t.Log("xz is not installed: apt-get install xz-utils")
	}
	return out
}

// legacyLZ4 is what lz4 -l makes, with the size that the build appends.
func legacyLZ4(t testing.TB, plain []byte) []byte {
	t.Helper()
	legacy := []byte{0x02, 0x21, 0x4c, 0x18}
	for rest := plain; len(rest) > 0; {
		block := rest[:min(len(rest), lz4LegacyBlock)]
		rest = rest[len(block):]
		dst := make([]byte, lz4.CompressBlockBound(len(block)))
		n, err := lz4.CompressBlock(block, dst, nil)
		if err != nil || n == 0 {
			t.Fatal(n, err)
		}
		legacy = append(binary.LittleEndian.AppendUint32(legacy, uint32(n)), dst[:n]...)
	}
	return withSize(legacy, len(plain))
}

func TestUnpackBzImage(t *testing.T) {
	plain, large := codeLike(300_000), codeLike(lz4LegacyBlock+12345)
	if got, err := UnpackBzImage(makeBzImage(legacyLZ4(t, large))); err != nil || !bytes.Equal(got, large) {
		t.Errorf("two LZ4 blocks: %d bytes, %v", len(got), err)
	}
	for kind, payload := range compressed(t, plain) {
		t.Run(kind, func(t *testing.T) {
			got, err := UnpackBzImage(makeBzImage(payload))
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, plain) {
				t.Fatal("unpacked bytes differ")
			}
			for _, cut := range []int{1, 5, 100, len(payload) / 2} {
				bad := append(append([]byte{}, payload[:len(payload)-4-cut]...), payload[len(payload)-4:]...)
				if _, err := UnpackBzImage(makeBzImage(bad)); err == nil {
					t.Errorf("%d bytes less: no error", cut)
				}
			}
			short := withSize(append([]byte{}, payload[:len(payload)-4]...), len(plain)-1)
			if _, err := UnpackBzImage(makeBzImage(short)); err == nil {
				t.Error("a smaller announced size: no error")
			}
			if b := makeBzImage(payload); len(b) > 9 {
				if _, err := UnpackBzImage(b[:len(b)-9]); err == nil || !strings.Contains(err.Error(), "truncated") {
					t.Errorf("truncated file: %v", err)
				}
			}
		})
	}
}

func TestUnpackBzImageRefuses(t *testing.T) {
	old := makeBzImage(withSize(make([]byte, 32), 32))
	binary.LittleEndian.PutUint16(old[0x206:], 0x207)
	far := makeBzImage(make([]byte, 32))
	binary.LittleEndian.PutUint32(far[0x248:], 0xfffffff0)
	for name, c := range map[string]struct {
		b    []byte
		want string
	}{
		"empty":       {nil, "not a bzImage"},
		"elf":         {append([]byte("\x7fELF"), make([]byte, 4096)...), "not a bzImage"},
		"old":         {old, "too old"},
		"far":         {far, "truncated"},
		"bzip2":       {makeBzImage(withSize(append([]byte("BZh9"), make([]byte, 32)...), 32)), "bzip2 is not supported"},
		"unknown":     {makeBzImage(withSize(bytes.Repeat([]byte{0xee}, 32), 32)), "unknown compression"},
		"huge":        {makeBzImage(withSize(make([]byte, 32), 1<<31)), "limit"},
		"lz4 overrun": {makeBzImage(withSize(append([]byte{0x02, 0x21, 0x4c, 0x18, 0xff, 0xff, 0, 0}, make([]byte, 32)...), 32)), "are left"},
	} {
		if _, err := UnpackBzImage(c.b); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

func FuzzUnpackBzImage(f *testing.F) {
	for _, p := range compressed(f, codeLike(5000)) {
		f.Add(makeBzImage(p))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		out, err := UnpackBzImage(b)
		if err == nil && len(out) == 0 {
			t.Error("no error and no bytes")
		}
	})
}

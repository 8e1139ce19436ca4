// SPDX-License-Identifier: Apache-2.0

package explorer

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"html/template"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kmend/internal/hostiletest"
	"kmend/internal/impact/index"
	"kmend/internal/report/page"
)

// soundPage holds what holds for every page; scripts are the page's own.
func soundPage(html string, input, scripts int) error {
	if most := 256<<10 + 60*input; len(html) > most {
		return fmt.Errorf("the page of %d bytes has %d", input, len(html))
	}
	if n := strings.Count(html, "<script"); n != scripts {
		return fmt.Errorf("%d scripts, want the page's own %d", n, scripts)
	}
	// The scripts themselves may have what they look for.
	main, _, _ := strings.Cut(html, "<script>")
	if bad := hostiletest.Hidden(main, true); bad != "" {
		return fmt.Errorf("the page has %s", bad)
	}
	return hostiletest.Markup(html)
}

// Of docs/index-format.md: where the header has what.
const (
	headerSize   = 512
	sectionTable = 96
	sectionEntry = 32
	sections     = 9
)

// damaged changes some numbers and texts of an index, and makes the checksum of
// its header fit, or every change of that would end there.
func damaged(rnd *rand.Rand, seed []byte) []byte {
	d := bytes.Clone(seed)
	le := binary.LittleEndian
	interesting := []uint32{0, 1, 2, 7, 255, 1 << 28, 1<<28 - 1, 1 << 31, 1<<32 - 1, uint32(len(d)), uint32(rnd.IntN(300))}
	for range 1 + rnd.IntN(5) {
		s := d[sectionTable+sectionEntry*rnd.IntN(sections):]
		size, off, n := uint64(le.Uint32(s[4:])), le.Uint64(s[8:]), le.Uint64(s[16:])
		at := rnd.IntN(headerSize) &^ 3
		if inside := size > 0 && n > 0 && off < uint64(len(d)) && n <= (uint64(len(d))-off)/size; inside && rnd.IntN(10) > 0 {
			at = int(off) + rnd.IntN(int(size*n))
			if size > 1 {
				at -= (at - int(off)) % 4
			}
		}
		if at+4 > len(d) {
			continue
		}
		switch rnd.IntN(5) {
		case 0:
			d[at] ^= 1 << rnd.IntN(8)
		case 1:
			le.PutUint32(d[at:], interesting[rnd.IntN(len(interesting))])
		case 2:
			le.PutUint32(d[at:], le.Uint32(d[at:])+uint32(rnd.IntN(5))-2)
		case 3: // the same field of elsewhere
			copy(d[at:at+4], d[rnd.IntN(len(d)-4):])
		case 4:
			copy(d[at:], hostiletest.Attack[rnd.IntN(len(hostiletest.Attack)):])
		}
	}
	if rnd.IntN(50) == 0 {
		d = d[:rnd.IntN(len(d))]
	}
	if len(d) >= headerSize && rnd.IntN(20) > 0 {
		le.PutUint32(d[headerSize-4:], crc32.Checksum(d[:headerSize-4], crc32.MakeTable(crc32.Castagnoli)))
	}
	return d
}

// TestHostileIndexes: indexes that were changed at their numbers and bytes give
// an error or a sound page, read from a file as kmend report --index reads it.
func TestHostileIndexes(t *testing.T) {
	seed, other := buildData(t), build(t)
	count := hostiletest.Share(t, 1500, 20)
	bounds := hostiletest.Bounds{Constant: 16 << 20, PerByte: 4000, Memory: 2 << 30}
	got := hostiletest.Run(t, count, bounds, func(worker int) func(*rand.Rand, int) hostiletest.Case {
		file := filepath.Join(t.TempDir(), fmt.Sprint(worker))
		return func(rnd *rand.Rand, i int) hostiletest.Case {
			data := damaged(rnd, seed)
			compared := rnd.IntN(10) == 0
			return hostiletest.Case{Input: data, Try: func() (string, error) { return tryIndex(t.Context(), file, data, other, compared) }}
		}
	})
	if got["shown"] < count/20 || got["refused when it was opened"] < count/100 || got["refused when it was asked"] < count/100 {
		t.Errorf("of %d: %v: the mutants are not near enough to an index, or nothing is checked", count, got)
	}
}

func tryIndex(ctx context.Context, file string, data []byte, other *index.Index, compared bool) (string, error) {
	if err := os.WriteFile(file, data, 0o600); err != nil {
		return "not written", err
	}
	x, err := index.Open(file)
	if err != nil {
		return "refused when it was opened", nil
	}
	defer x.Close()
	in := Input{Builds: []Build{{"hostile", x}}}
	if compared {
		in.Builds = append(in.Builds, Build{"other", other})
	}
	var b bytes.Buffer
	if err := Write(ctx, &b, in); err != nil {
		return "refused when it was asked", nil
	}
	return "shown", soundPage(b.String(), len(data), 5)
}

// TestHostileLevels: measurements that were changed give an error or a sound page.
func TestHostileLevels(t *testing.T) {
	seed, err := hostiletest.NewJSON([]byte(measured))
	if err != nil {
		t.Fatal(err)
	}
	count := hostiletest.Share(t, 500, 5)
	bounds := hostiletest.Bounds{Constant: 16 << 20, PerByte: 4000, Memory: 2 << 30}
	got := hostiletest.Run(t, count, bounds, func(int) func(*rand.Rand, int) hostiletest.Case {
		return func(rnd *rand.Rand, i int) hostiletest.Case {
			data := seed.Mutate(rnd)
			return hostiletest.Case{Input: data, Try: func() (string, error) { return tryLevels(data) }}
		}
	})
	if got["shown"] < count/20 || got["refused"] < count/20 {
		t.Errorf("of %d: %v", count, got)
	}
}

func tryLevels(data []byte) (string, error) {
	l, err := ReadLevels("l", bytes.NewReader(data))
	if err != nil {
		if l != nil {
			return "refused", fmt.Errorf("levels and the error %w", err)
		}
		return "refused", nil
	}
	var main, b bytes.Buffer
	v := &view{Builds: []buildView{{Name: "x"}}, Levels: viewLevels(l)}
	if err := templates.ExecuteTemplate(&main, "explorer", v); err != nil {
		return "refused", err
	}
	if err := page.Write(&b, page.Document{Title: "x", Main: template.HTML(main.String())}); err != nil {
		return "refused", err
	}
	return "shown", soundPage(b.String(), len(data), 1)
}

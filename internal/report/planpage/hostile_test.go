// SPDX-License-Identifier: Apache-2.0

package planpage

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"kmend/internal/hostiletest"
	"kmend/internal/report/evidence"
)

// seed is a document to be changed, and what a plan says of it if it is one.
type seed struct {
	*hostiletest.JSON
	text []byte
}

// parts makes small documents of a large one: for each member, one with that
// and with what none is read without. The first is the whole.
func parts(t testing.TB, text []byte, always ...string) []seed {
	t.Helper()
	var all map[string]json.RawMessage
	if err := json.Unmarshal(text, &all); err != nil {
		t.Fatal(err)
	}
	texts := [][]byte{text}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		some := map[string]json.RawMessage{name: all[name]}
		for _, n := range always {
			some[n] = all[n]
		}
		if slices.Contains(always, name) {
			continue
		}
		part, err := json.Marshal(some)
		if err != nil {
			t.Fatal(err)
		}
		texts = append(texts, part)
	}
	var out []seed
	for _, text := range texts {
		j, err := hostiletest.NewJSON(text)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, seed{j, text})
	}
	return out
}

// pageBound is how large the page of an input may be: each byte of it is shown
// in a few places, and can become an entity or an escape there.
func pageBound(input int) int { return 256<<10 + 60*input }

// TestHostilePlans: plans, results of a virtual machine, consoles and fixes that
// were changed at their values and bytes give an error or a sound page.
func TestHostilePlans(t *testing.T) {
	plans := slices.Concat(parts(t, read(t, "plan.json"), "version", "name", "verdict", "kernel"), parts(t, read(t, "refused.json"), "version", "name", "verdict", "kernel", "refusals"))
	results := parts(t, read(t, "test.json"), "version", "verdict", "livepatch", "kernel")
	fix := read(t, "fix.patch")
	few := plans[1].text // for a result or a console
	count := hostiletest.Share(t, 3000, 75)
	bounds := hostiletest.Bounds{Constant: 16 << 20, PerByte: 4000, Memory: 2 << 30}
	got := hostiletest.Run(t, count, bounds, func(int) func(*rand.Rand, int) hostiletest.Case {
		return func(rnd *rand.Rand, i int) hostiletest.Case {
			h := hostileInput{name: "plan", plan: few}
			switch n := rnd.IntN(100); {
			case n < 65:
				s := plans[rnd.IntN(len(plans))]
				h.plan = s.Mutate(rnd)
			case n < 95:
				s := results[rnd.IntN(len(results))]
				h.name, h.result = "result", s.Mutate(rnd)
			case n < 97:
				h.name, h.result, h.console = "console", results[0].text, hostiletest.Bytes(rnd, bytes.Repeat([]byte("[    0.1] booting\r\n"), 1+rnd.IntN(200)))
			default:
				h.name, h.fix = "fix", hostiletest.Bytes(rnd, fix)
				sum := sha256.Sum256(h.fix)
				h.plan = []byte(fmt.Sprintf(`{"version":1,"verdict":"nothing","patches":[{"name":"a","sha256":%q}]}`, hex.EncodeToString(sum[:])))
			}
			return hostiletest.Case{Input: bytes.Join([][]byte{h.plan, h.result, h.console, h.fix}, nil), Try: func() (string, error) { return h.try(t) }}
		}
	})
	for _, what := range []string{"plan shown", "plan refused", "result shown", "result refused", "console shown", "fix shown"} {
		if got[what] < count/200 {
			t.Errorf("only %d of %d: %s", got[what], count, what)
		}
	}
}

// hostileInput is all that a page of a plan is made of; name is what was changed.
type hostileInput struct {
	name                       string
	plan, result, console, fix []byte
}

// try reads the input and makes the page, as kmend report --no-kernel does.
func (h *hostileInput) try(t *testing.T) (string, error) {
	refused := h.name + " refused"
	p, err := ReadPlan("p", bytes.NewReader(h.plan))
	if err != nil {
		if p != nil {
			return refused, fmt.Errorf("a plan and the error %w", err)
		}
		return refused, nil
	}
	in := Input{Plan: p, Console: string(h.console)}
	if h.result != nil {
		if in.Test, err = ReadTest("t", bytes.NewReader(h.result), p); err != nil {
			if in.Test != nil {
				return refused, fmt.Errorf("a result and the error %w", err)
			}
			return refused, nil
		}
	}
	q := evidence.Request{Plan: p, NoKernel: "--no-kernel was given"}
	if h.fix != nil {
		if err := q.AddFix("f", h.fix); err != nil {
			return refused, err
		}
	}
	if in.Evidence, err = evidence.Gather(t.Context(), q); err != nil {
		return refused, err
	}
	var b bytes.Buffer
	if err := Write(&b, in); err != nil {
		return refused, err
	}
	return h.name + " shown", soundPage(b.String(), len(h.plan)+len(h.result)+len(h.console)+len(h.fix))
}

// soundPage holds what holds for every page.
func soundPage(html string, input int) error {
	if len(html) > pageBound(input) {
		return fmt.Errorf("the page of %d bytes has %d", input, len(html))
	}
	if n := strings.Count(html, "<script"); n != 1 {
		return fmt.Errorf("%d scripts, want the page's own", n)
	}
	if bad := hostiletest.Hidden(html, true); bad != "" {
		return fmt.Errorf("the page has %s", bad)
	}
	return hostiletest.Markup(html)
}

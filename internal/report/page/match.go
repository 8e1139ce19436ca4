// SPDX-License-Identifier: Apache-2.0

package page

// maxEdits bounds what match does: its memory grows with the square.
const maxEdits = 1500

// match finds for each line of b the line of a (from 0) that it is, -1 if it is
// new, so that the fewest lines are new or gone (Myers, "An O(ND) difference
// algorithm and its variations", 1986). With more than maxEdits of these it
// gives up: only the common begin and end match.
func match(a, b []string) (from []int, ok bool) {
	from = make([]int, len(b))
	for i := range from {
		from[i] = -1
	}
	pre := 0
	for pre < len(a) && pre < len(b) && a[pre] == b[pre] {
		from[pre] = pre
		pre++
	}
	end := 0
	for end < len(a)-pre && end < len(b)-pre && a[len(a)-1-end] == b[len(b)-1-end] {
		end++
		from[len(b)-end] = len(a) - end
	}
	a, b = a[pre:len(a)-end], b[pre:len(b)-end]
	if len(a) == 0 || len(b) == 0 {
		return from, true
	}
	trace, ok := edits(a, b)
	if !ok {
		return from, false
	}
	x, y := len(a), len(b)
	for d := len(trace) - 1; d >= 0; d-- {
		v, k := trace[d], x-y
		prev := k - 1
		if k == -d || k != d && v.at(k-1) < v.at(k+1) {
			prev = k + 1
		}
		px := 0
		py := 0
		if d > 0 {
			px = v.at(prev)
			py = px - prev
		}
		for x > px && y > py && a[x-1] == b[y-1] {
			x, y = x-1, y-1
			from[pre+y] = pre + x
		}
		x, y = px, py
	}
	return from, true
}

// furthest is how far each diagonal -d…d was followed.
type furthest []int

func (v furthest) at(k int) int {
	if i := k + len(v)/2; i >= 0 && i < len(v) {
		return v[i]
	}
	return -1
}

// edits follows the diagonals; trace[d] is where they stood before step d.
func edits(a, b []string) (trace []furthest, ok bool) {
	v := furthest{0}
	for d := 0; d <= maxEdits; d++ {
		trace = append(trace, v)
		next := make(furthest, 2*d+1)
		for k := -d; k <= d; k += 2 {
			x := 0
			switch {
			case d == 0:
			case k == -d || k != d && v.at(k-1) < v.at(k+1):
				x = v.at(k + 1)
			default:
				x = v.at(k-1) + 1
			}
			y := x - k
			for x < len(a) && y < len(b) && a[x] == b[y] {
				x, y = x+1, y+1
			}
			next[k+d] = x
			if x >= len(a) && y >= len(b) {
				return trace, true
			}
		}
		v = next
	}
	return nil, false
}

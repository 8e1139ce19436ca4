// SPDX-License-Identifier: Apache-2.0

package index

// Differences tells in which units an index and that of a build as it is now
// differ, as "UNIT: how", by unit.
func Differences(old, now *Index) ([]string, error) {
	if old.Inputs() == now.Inputs() {
		return nil, nil
	}
	a, b := view{x: old}, view{x: now}
	var out []string
	i, j := uint32(0), uint32(0)
	for (i < uint32(old.Units()) || j < uint32(now.Units())) && a.err == nil && b.err == nil {
		var u, v unit
		var p, q string
		if i < uint32(old.Units()) {
			u = a.unit(i)
			p = a.str(u.path)
		}
		if j < uint32(now.Units()) {
			v = b.unit(j)
			q = b.str(v.path)
		}
		switch {
		case q == "" || p != "" && p < q:
			out = append(out, p+": not in the build")
			i++
		case p == "" || q < p:
			out = append(out, q+": not in the index")
			j++
		default:
			if u.dumpSize != v.dumpSize || u.dumpSum != v.dumpSum || u.objectSize != v.objectSize || u.objectSum != v.objectSum {
				out = append(out, p+": another compile")
			} else if u.flags != v.flags || a.str(u.object) != b.str(v.object) {
				out = append(out, p+": linked or dated otherwise")
			}
			i, j = i+1, j+1
		}
	}
	if a.err != nil {
		return nil, a.err
	}
	return out, b.err
}

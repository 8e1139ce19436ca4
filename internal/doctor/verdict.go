// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"fmt"
	"strings"
)

// consequences say what each kind of fact that nothing shows means for a live
// patch made from names and dumps.
var consequences = []struct {
	about About
	text  string
}{
	{Interface, "Static functions are called in another way than their C prototypes say, under unchanged names (%s): no rule that goes by the names of static functions is safe. A patch must neither call an original static function nor replace one while its callers stay."},
	{Body, "Functions rely on bodies of others where neither a name nor a dump of inlined bodies and clones shows it (%s): a list made from these is incomplete. Each replaced function must be compiled with its body hidden, to see whose code changes."},
	{Callers, "Static functions are narrowed to what their callers pass, under unchanged names (%s): a patch must not call an original static function unless its code is the same when its callers are hidden."},
	{Variable, "Code relies on how static variables are used (%s): a patch that is the first to %s one impacts all functions that use it."},
}

// deeds are what a patch must not be the first to do.
var deeds = map[string]string{
	"variable-unwritten": "write", "variable-unread": "read", "variable-address": "take the address of",
}

// verdict says in sentences what a live patch may rely on.
func verdict(results []Result) []string {
	var out, broken []string
	unsafe := map[About][]string{}
	used := false
	for _, r := range results {
		used = used || r.Used
		switch {
		case r.Broken != "":
			broken = append(broken, r.Probe)
		case r.Unsafe:
			unsafe[r.About] = append(unsafe[r.About], r.Probe)
		}
	}
	if len(broken) > 0 {
		out = append(out, fmt.Sprintf("No verdict on %s: the probe is broken.", strings.Join(broken, ", ")))
	}
	for _, c := range consequences {
		names := unsafe[c.about]
		args := []any{strings.Join(names, ", ")}
		if c.about == Variable {
			var verbs []string
			for _, n := range names {
				verbs = append(verbs, deeds[n])
			}
			args = append(args, strings.Join(verbs, ", or to "))
		}
		if names != nil {
			out = append(out, fmt.Sprintf(c.text, args...))
		}
	}
	if len(broken) == 0 && !used {
		return []string{"None of the facts is in use."}
	}
	if len(broken) == 0 && unsafe[Body] == nil && unsafe[Callers] == nil && unsafe[Interface] == nil {
		out = append(out, "Every fact about a body, or about callers, that is in use is shown by a name or a dump: a list made from these is complete, as far as the probes reach.")
	}
	for _, r := range results {
		if r.Claimed == "enabled" && r.Without != "" {
			out = append(out, fmt.Sprintf("-Q --help=optimizers prints %s as enabled, but it is off: %s is used only without %s.", r.Option, r.Probe, r.Without))
		}
	}
	return out
}

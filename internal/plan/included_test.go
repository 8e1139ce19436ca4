// SPDX-License-Identifier: Apache-2.0

package plan_test

import (
	"strings"
	"testing"

	"kmend/internal/kerneltest"
	"kmend/internal/plan"
)

// Files that another translation unit includes, too, run twice.
func TestIncludedElsewhere(t *testing.T) {
	k := kerneltest.Open(t)
	for _, tc := range []struct {
		edit edit
		by   string
	}{
		{sub("fs/binfmt_elf.c", "static int load_elf_library(struct file *file)\n{", "static int load_elf_library(struct file *file)\n{\n\tbarrier();"), "fs/compat_binfmt_elf.c"},
		{sub("sound/pci/ens1370.c", "static void snd_ensoniq_free(struct snd_card *card)\n{", "static void snd_ensoniq_free(struct snd_card *card)\n{\n\tbarrier();"), "sound/pci/ens1371.c"},
	} {
		b := makePlan(t, k, kerneltest.Diff(t, k, tc.edit))
		if b.Plan.Verdict != plan.Refused {
			t.Errorf("%s: verdict %s, though %s includes it", tc.edit.File, b.Plan.Verdict, tc.by)
			continue
		}
		if r := b.Plan.Refusals[0]; r.Code != plan.CodeHeaderChanged || !strings.Contains(r.Why, tc.by) {
			t.Errorf("%s: refused with %s: %s; want %s and %s", tc.edit.File, r.Code, r.Why, plan.CodeHeaderChanged, tc.by)
		}
	}
}

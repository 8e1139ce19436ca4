// SPDX-License-Identifier: Apache-2.0

package vmtest

import (
	"os/exec"
	"strings"
	"testing"

	"kmend/internal/kerneltest"
)

// Programs copies programs of this machine, and the libraries that they are
// linked with, into a directory that becomes part of a guest's root: each lies
// there under the path that it has here. packages are those of Debian that have
// the programs; without them the test is skipped, as by NeedQEMU.
func Programs(t testing.TB, dir, packages string, programs ...string) {
	t.Helper()
	var paths []string
	for _, p := range programs {
		path, err := exec.LookPath(p)
		if err != nil {
			kerneltest.Missing(t, "%s is missing: apt-get install --no-install-recommends %s", p, packages)
		}
		paths = append(paths, path)
	}
	const script = `set -e
cd "$1"
shift
for p; do
	cp -L --parents "$p" .
	for l in $(ldd "$p" | grep -o '/[^ ]*'); do cp -L --parents "$l" .; done
done
`
	if out, err := exec.Command("sh", append([]string{"-c", script, "sh", dir}, paths...)...).CombinedOutput(); err != nil {
		t.Fatalf("copy %s for a guest: %v\n%s", strings.Join(paths, ", "), err, out)
	}
}

// SPDX-License-Identifier: Apache-2.0

package host

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"kmend/packaging"
)

const (
	unitName    = "kmend.service"
	unitProgram = "/usr/bin/kmend" // what its ExecStart runs
	localUnits  = "/etc/systemd/system"
)

// enableUnit makes systemd load at boot what is installed. A unit that is there,
// from a package or the administrator, is used as it is. What cannot be done is
// said in the warnings; the modules are installed then, and not loaded by
// anybody.
func (h *Host) enableUnit(ctx context.Context) (warnings []string, err error) {
	warn := func(format string, args ...any) { warnings = append(warnings, fmt.Sprintf(format, args...)) }
	if !h.exists(unitProgram) {
		warn("%s, which loads them at boot, is not there: install kmend there, for example: install -m 0755 kmend %s", unitProgram, unitProgram)
	}
	systemctl := ""
	for _, p := range []string{"/usr/bin/systemctl", "/bin/systemctl"} {
		if systemctl == "" && h.exists(p) {
			systemctl = p
		}
	}
	if systemctl == "" {
		warn("there is no systemctl: have your init system run this at boot: %s load --installed", unitProgram)
		return warnings, nil
	}
	fresh, err := h.writeUnit()
	if err != nil {
		return warnings, err
	}
	if fresh && h.exists("/run/systemd/system") { // systemd runs: sd_booted(3)
		h.step("reload systemd")
		if out, err := h.System.Run(ctx, systemctl, "daemon-reload"); err != nil {
			warn("systemctl daemon-reload: %v %s", err, out)
		}
	}
	h.step("enable " + unitName)
	if out, err := h.System.Run(ctx, systemctl, "enable", "--quiet", unitName); err != nil {
		warn("the modules are installed, and not loaded at boot: systemctl enable %s: %v %s", unitName, err, out)
	}
	return warnings, nil
}

// writeUnit puts the unit into place unless there is one.
func (h *Host) writeUnit() (fresh bool, err error) {
	for _, dir := range []string{localUnits, "/usr/lib/systemd/system", "/lib/systemd/system"} {
		_, err := os.Stat(h.path(dir, unitName))
		if err == nil {
			return false, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return false, fmt.Errorf("look for %s: %w", unitName, err)
		}
	}
	h.step("write " + unitName)
	if err := os.MkdirAll(h.path(localUnits), 0o755); err != nil {
		return false, fmt.Errorf("write %s: %w", unitName, err)
	}
	if err := h.writeFile(h.path(localUnits, unitName), []byte(packaging.Unit), 0o644); err != nil {
		return false, fmt.Errorf("write %s: %w", unitName, err)
	}
	return true, nil
}

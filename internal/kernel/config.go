// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"strings"
)

// ConfigOptions are the options that decide what a live patch can be on a
// kernel, in the order in which they are shown.
var ConfigOptions = []string{
	"CONFIG_LIVEPATCH",
	"CONFIG_HAVE_RELIABLE_STACKTRACE",
	"CONFIG_UNWINDER_ORC",
	"CONFIG_DYNAMIC_FTRACE_WITH_REGS",
	"CONFIG_DYNAMIC_FTRACE_WITH_ARGS",
	"CONFIG_KALLSYMS_ALL",
	"CONFIG_MODVERSIONS",
	"CONFIG_TRIM_UNUSED_KSYMS",
	"CONFIG_MODULE_SIG",
	"CONFIG_MODULE_SIG_FORCE",
	"CONFIG_DEBUG_INFO_BTF",
	"CONFIG_DEBUG_INFO_BTF_MODULES",
	"CONFIG_MODULE_ALLOW_BTF_MISMATCH",
	"CONFIG_RETPOLINE",
	"CONFIG_RETHUNK",
	"CONFIG_X86_KERNEL_IBT",
	"CONFIG_CFI_CLANG",
	"CONFIG_LTO_CLANG",
	"CONFIG_RANDSTRUCT",
	"CONFIG_JUMP_LABEL",
	"CONFIG_HAVE_STATIC_CALL_INLINE",
	"CONFIG_PREEMPT_DYNAMIC",
	"CONFIG_DYNAMIC_DEBUG",
	"CONFIG_PRINTK_INDEX",
	"CONFIG_PVH",
}

// Config returns the value of an option ("CONFIG_LIVEPATCH"): "y", "m", a
// number, a string without its quotes, or "" if it is not set.
func (k *Kernel) Config(name string) string {
	k.configOnce.Do(func() {
		data, err := os.ReadFile(k.ConfigFile())
		if err != nil {
			return // Open has checked that the file is there
		}
		k.config = parseConfig(data)
	})
	return k.config[name]
}

// parseConfig reads the lines NAME=VALUE of a .config.
func parseConfig(data []byte) map[string]string {
	m := make(map[string]string)
	sc := bufio.NewScanner(bytes.NewReader(data))
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		line := sc.Text()
		if !strings.HasPrefix(line, "CONFIG_") {
			continue
		}
		name, value, ok := strings.Cut(line, "=")
		if !ok {
			continue
		}
		if len(value) >= 2 && value[0] == '"' && value[len(value)-1] == '"' {
			value = strings.NewReplacer(`\"`, `"`, `\\`, `\`).Replace(value[1 : len(value)-1])
		}
		m[name] = value
	}
	return m
}

// configDrift lists the options whose values differ, "NAME: was X, is Y".
func configDrift(was, is map[string]string) []string {
	var out []string
	for name, v := range was {
		if is[name] != v {
			out = append(out, fmt.Sprintf("%s: was %q, is %q", name, v, is[name]))
		}
	}
	for name, v := range is {
		if _, ok := was[name]; !ok {
			out = append(out, fmt.Sprintf("%s: was not set, is %q", name, v))
		}
	}
	return out
}

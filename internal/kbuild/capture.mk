# SPDX-License-Identifier: Apache-2.0
# Read by every make of a kernel build (variable MAKEFILES). In the first run of
# scripts/Makefile.build for our goal it writes down the environment and the
# variables of that run, then stops.
ifneq ($(obj),)
ifneq ($(filter %kmend-probe.o,$(MAKECMDGOALS)),)
$(shell env -0 >'$(KMEND_OUT).env')
$(file >$(KMEND_OUT).vars,obj=$(obj) need-builtin=$(need-builtin) need-modorder=$(need-modorder) single-build=$(single-build))
$(error kmend-captured)
endif
endif

# SPDX-License-Identifier: Apache-2.0
# Read by every make of a kernel build (variable MAKEFILES). Objects made from C
# are not compiled: the commands kbuild would run are written to KMEND_OUT, with
# what it knows about the object. Everything an object depends on (generated
# headers) is made as usual.
#
# Lists are taken apart by kbuild before the recipes run (Makefile.lib), so they
# are complete here: real-obj-y, real-obj-m, lib-y, multi-obj-m have the
# directory in front.
ifneq ($(obj),)
define kmend_nl


endef
kmend_line = $(subst $(kmend_nl), ,$(1))
kmend_multi = $(foreach m,$(patsubst $(obj)/%,%,$(multi-obj-m)),$(if $(filter $(patsubst $(obj)/%,%,$@),$(call suffix-search,$m,.o,-objs -y -m)),$m))
define kmend_text
target $@
source $<
prereqs $(call kmend_line,$^)
builtin $(filter $@,$(real-obj-y))
lib $(filter $@,$(lib-y))
module $(filter $@,$(real-obj-m))
single $(filter $@,$(filter-out $(multi-obj-m),$(obj-m)))
multi $(kmend_multi)
makefiles $(filter $(srctree)/%,$(MAKEFILE_LIST))
delayed $(call kmend_line,$(delay-objtool))
cmd $(call kmend_line,$(cmd_cc_o_c))
end
endef
kmend_cond = $(if $(value if-changed-cond),$(if-changed-cond),$(any-prereq)$(arg-check))
override if_changed_rule = $(if $(filter cc_o_c,$(1)),@:$(file >>$(KMEND_OUT),$(kmend_text)),$(if $(strip $(kmend_cond)),$(rule_$(1)),@:))
$(obj)/.kmend-list: ; @:$(file >>$(KMEND_OUT),list $(filter %.o,$(real-obj-y) $(real-obj-m) $(lib-y)))
endif

# SPDX-License-Identifier: GPL-2.0
# The front door: every target sets up what it lacks, then does its one job in
# lab/. "make help" says what there is.

.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
SHELL := /bin/sh

ALL_BASES := $(shell awk '!/^\#/ && NF { print $$1 }' lab/bases)
HAVE := $(foreach b,$(ALL_BASES),$(if $(wildcard patches/$(b)/0000-cover-letter.patch),$(b)))
BASES := $(or $(BASE),$(HAVE))
# What make run boots: the newest base that stacks levels
RUN_BASE := $(or $(BASE),$(shell awk '!/^\#/ && NF { b = $$1 } END { print b }' lab/levels))
VARIANT ?= plain

export BASE LINUX TEST V OUT CACHE MIRROR MIRROR_SECURITY UPDATE FORCE FULL
# Unset is not the same as empty
unexport $(foreach v,BASE LINUX TEST V OUT CACHE MIRROR MIRROR_SECURITY UPDATE FORCE FULL,$(if $($(v)),,$(v)))

ifneq ($(filter 1,$(V)),)
Q :=
else
Q := @
endif

help:
	@echo 'KVM for RISC-V: a patch series, and the lab that proves it'
	@echo
	@echo '  make series             write the series, ready for git am, to out/series/BASE/'
	@echo '  make am BASE= TREE=     apply it to your kernel tree'
	@echo '  make run                boot the patched kernel and a guest in it, then a shell'
	@echo '  make check              run all tests; TEST=NAME only those (a shell pattern),'
	@echo '                          FULL=1 also those that take long and rarely tell more'
	@echo
	@echo '  make lint               checkpatch, sparse, W=1, and every patch by itself'
	@echo '  make bench              what exits cost, against the same kernel without the series'
	@echo '  make build              build the kernel; VARIANT=plain or debug'
	@echo '  make refresh BASE= TREE=   take the commits of a worked-on tree back into the series'
	@echo '  make deps               install what the lab needs'
	@echo '  make clean              remove out/ (the cache of downloads stays)'
	@echo
	@echo '  BASE=BASE   one of: $(ALL_BASES) (with a series: $(HAVE))'
	@echo '  LINUX=DIR   a kernel tree of your own to take the base from'
	@echo '  CACHE=DIR   downloads and compiler cache (~/.cache/riscv-kvm-lab)'
	@echo '  MIRROR=URL  the Debian mirror to use instead of the machine'\''s own'
	@echo '  UPDATE=1    look for newer point releases; V=1 shows commands'

deps:
	$(Q)lab/deps

series:
	$(Q)lab/compose $(BASE)

am:
	@test -n "$(BASE)" -a -n "$(TREE)" || { echo 'usage: make am BASE=linux-6.12 TREE=~/src/linux' >&2; exit 2; }
	$(Q)lab/am "$(BASE)" "$(TREE)"

refresh:
	@test -n "$(BASE)" || { echo 'usage: make refresh BASE=linux-6.12 [TREE=DIR] [REV=base commit]' >&2; exit 2; }
	$(Q)lab/refresh "$(BASE)" "$(or $(TREE),out/$(BASE)/tree)" $(REV)

build: deps
	$(Q)set -e; for b in $(BASES); do lab/build "$$(lab/tree $$b)" $(VARIANT); done

run: deps
	$(Q)lab/run $(RUN_BASE)

check: deps
	$(Q)lab/check

lint: deps
	$(Q)set -e; for b in $(BASES); do lab/lint $$b; done

bench: deps
	$(Q)set -e; for b in $(BASES); do lab/bench $$b; done

clean:
	rm -rf $(or $(OUT),out)

.PHONY: help deps series am refresh build run check lint bench clean

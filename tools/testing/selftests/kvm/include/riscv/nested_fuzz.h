/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What tests with a hostile L1 have in common: VM after VM does random things,
 * after which the host has to be there, another VM must not have noticed, and all
 * memory has to be back.
 */
#ifndef SELFTEST_KVM_NESTED_FUZZ_H
#define SELFTEST_KVM_NESTED_FUZZ_H

#include "kvm_util.h"

/**
 * struct nested_fuzz - what the VMs of a test did
 *
 * @entries: L1 entered L2
 * @maps: L2 got a page
 * @errors: KVM_RUN failed, as it does for an access that KVM cannot emulate
 * @stuck: KVM_RUN did not return by itself
 */
struct nested_fuzz {
	u64 entries;
	u64 maps;
	u64 errors;
	u64 stuck;
};

/* xorshift64; for the host and for L1 */
static inline u64 rnd(u64 *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;

	return *seed;
}

void nested_fuzz_skip_traps(struct kvm_vm *vm);
void nested_fuzz_run(struct nested_fuzz *fuzz, struct kvm_vcpu *vcpu,
		     unsigned int limit_ms, void (*disturb)(struct kvm_vm *vm));
void nested_fuzz_main(int argc, char *argv[],
		      void (*one_vm)(struct nested_fuzz *fuzz, u64 seed));

#endif

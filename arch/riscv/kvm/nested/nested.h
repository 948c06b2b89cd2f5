/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Nested virtualization: what its own files share.
 */

#ifndef __RISCV_KVM_NESTED_INTERNAL_H
#define __RISCV_KVM_NESTED_INTERNAL_H

#include <linux/kvm_host.h>

/* transition.c */
void kvm_riscv_nested_enter_l2(struct kvm_vcpu *vcpu);
void kvm_riscv_nested_exit_to_l1(struct kvm_vcpu *vcpu, struct kvm_cpu_trap *trap,
				 bool gva);

/* csr.c */
unsigned long kvm_riscv_nested_hip(struct kvm_vcpu *vcpu);

/* shadow.c */
unsigned long kvm_riscv_nested_hgatp_levels(unsigned long hgatp);
int kvm_riscv_nested_gstage_get(struct kvm_vcpu *vcpu);
void kvm_riscv_nested_gstage_put(struct kvm_vcpu *vcpu);
unsigned long kvm_riscv_nested_hgatp(struct kvm_nested_gstage *shadow);
bool kvm_riscv_nested_implicit(const struct kvm_cpu_trap *trap);
u64 kvm_riscv_nested_fault_access(const struct kvm_cpu_trap *trap);
int kvm_riscv_nested_gstage_map(struct kvm_vcpu *vcpu, u64 access,
				struct kvm_cpu_trap *trap, gpa_t *l1_gpa);
int kvm_riscv_nested_gstage_fault(struct kvm_vcpu *vcpu, struct kvm_run *run,
				  struct kvm_cpu_trap *trap);

#endif

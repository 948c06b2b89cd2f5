// SPDX-License-Identifier: GPL-2.0-only
/*
 * Nested virtualization: opt-in and life cycle.
 */

#include <linux/kvm_host.h>
#include <linux/module.h>
#include <asm/kvm_nacl.h>
#include <asm/kvm_vcpu_nested.h>
#include "nested.h"

static bool __ro_after_init nested;
module_param(nested, bool, 0444);
MODULE_PARM_DESC(nested, "Offer the H extension to guests (default: off)");

DEFINE_STATIC_KEY_FALSE(kvm_riscv_nested_enabled);

/**
 * kvm_riscv_nested_setup - decide whether guests can have the H extension
 *
 * Context: module initialization, after kvm_riscv_nacl_init().
 */
void __init kvm_riscv_nested_setup(void)
{
	if (!nested)
		return;

	/*
	 * The transitions between L1 and L2 program the CSRs of the hart
	 * directly. Under a hypervisor that shadows them in shared memory two
	 * copies would have to be kept coherent; three levels of KVM are not
	 * worth that.
	 */
	if (!IS_ENABLED(CONFIG_64BIT) || kvm_riscv_nacl_available()) {
		kvm_info("nested virtualization needs a 64-bit host that is no guest with SBI NACL\n");
		return;
	}

	/* The TLB would mix L1 and L2, which share a hart */
	if (!kvm_riscv_gstage_vmid_bits() ||
	    static_branch_unlikely(&kvm_riscv_vsstage_tlb_no_gpa)) {
		kvm_info("nested virtualization needs a TLB with VMIDs\n");
		return;
	}

	static_branch_enable(&kvm_riscv_nested_enabled);
	kvm_info("nested virtualization available\n");
}

/* The run loop looks at the timer of L1 before it enters L2 again */
static enum hrtimer_restart l1_timer_expired(struct hrtimer *hrt)
{
	struct kvm_vcpu_nested *n = container_of(hrt, struct kvm_vcpu_nested, l1_timer);

	kvm_vcpu_kick(container_of(n, struct kvm_vcpu, arch.nested));
	return HRTIMER_NORESTART;
}

/**
 * kvm_riscv_nested_vcpu_init - set nested state up when a vCPU is created
 * @vcpu: the vCPU, not yet visible to userspace
 */
void kvm_riscv_nested_vcpu_init(struct kvm_vcpu *vcpu)
{
	hrtimer_setup(&vcpu->arch.nested.l1_timer, l1_timer_expired,
		      CLOCK_MONOTONIC, HRTIMER_MODE_REL);
}

/**
 * kvm_riscv_nested_vcpu_reset - bring the H extension to its reset state
 * @vcpu: the vCPU, not loaded on a CPU
 *
 * V is 0 after a reset and the CSRs of the H extension are zero except for
 * their read-only fields, which the CSR table supplies. That is one of the
 * states which the privileged specification leaves to the implementation, and
 * the one that does nothing by surprise.
 *
 * Context: may be called with preemption disabled.
 */
void kvm_riscv_nested_vcpu_reset(struct kvm_vcpu *vcpu)
{
	struct kvm_vcpu_nested *n = &vcpu->arch.nested;

	n->virt = false;
	memset(&n->csr, 0, sizeof(n->csr));
	memset(&n->vs_aia, 0, sizeof(n->vs_aia));
	memset(&vcpu->arch.l2_csr, 0, sizeof(vcpu->arch.l2_csr));
}

/**
 * kvm_riscv_nested_vcpu_deinit - undo kvm_riscv_nested_vcpu_init()
 * @vcpu: the vCPU that is being destroyed
 *
 * Context: may sleep.
 */
void kvm_riscv_nested_vcpu_deinit(struct kvm_vcpu *vcpu)
{
	hrtimer_cancel(&vcpu->arch.nested.l1_timer);
}

/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Nested virtualization: state of a guest that has the H extension.
 *
 * L0 is this kernel, L1 a guest with the H extension and L2 a guest of L1.
 * Both L1 and L2 run with V=1 on the hart. What tells them apart is
 * kvm_vcpu_nested.virt, the virtualization mode V that L1 believes in.
 */

#ifndef __RISCV_KVM_NESTED_H
#define __RISCV_KVM_NESTED_H

#include <linux/cpumask.h>
#include <linux/hrtimer.h>
#include <linux/list.h>
#include <linux/pgtable.h>
#include <linux/types.h>
#include <linux/workqueue.h>
#include <asm/kvm_aia.h>
#include <asm/kvm_vmid.h>

/*
 * The hypervisor CSRs of L1. None of them reaches the hart as it is, see
 * kvm_riscv_nested_config() for what they are merged into.
 *
 * vsie and vsip have no storage: they are windows on hie, hip and hideleg.
 */
struct kvm_vcpu_nested_csr {
	unsigned long hstatus;
	unsigned long hedeleg;
	unsigned long hideleg;
	unsigned long hie;
	unsigned long hvip;
	unsigned long hcounteren;
	unsigned long htimedelta;
	unsigned long htval;
	unsigned long htinst;
	unsigned long henvcfg;
	unsigned long hgatp;
	unsigned long hstateen0;
	unsigned long vstimecmp;
	unsigned long hvictl;
};

/**
 * struct kvm_nested_gstage - shadow of one G-stage page table of L1
 *
 * Maps guest physical addresses of L2 to host physical addresses. A leaf exists
 * only while the VM's own G-stage maps the same page of L1 and allows at least
 * as much. Everything except @vmid and @harts is protected by kvm->mmu_lock.
 *
 * @node: entry in kvm_nested_mmu.contexts, most recently used first
 * @tables: pages of the page tables below @pgd, linked by their lru
 * @nr_tables: length of that list
 * @hgatp: hgatp of L1 that is shadowed
 * @users: number of vCPUs that have the context in kvm_vcpu_nested.gstage
 * @populated: entries were made since the context was last emptied
 * @split_level: highest level at which L1 has a leaf that is shadowed by
 *		 smaller ones because L0's memory is not that contiguous
 * @vmid: VMID on the hart, not the one of L1; see kvm_riscv_gstage_vmid_update()
 * @harts: harts with @pgd in hgatp, or with translations of it in their TLB;
 *	   each hart changes its own bit, with interrupts disabled
 * @pgd: root of the shadow page table; stays as long as the context
 * @pgd_levels: number of its levels
 */
struct kvm_nested_gstage {
	struct list_head node;
	struct list_head tables;
	unsigned long nr_tables;
	unsigned long hgatp;
	unsigned int users;
	bool populated;
	u32 split_level;
	struct kvm_vmid vmid;
	cpumask_t harts;
	pgd_t *pgd;
	unsigned long pgd_levels;
};

/**
 * struct kvm_nested_mmu - the shadows of one VM, protected by kvm->mmu_lock
 *
 * @contexts: list of struct kvm_nested_gstage
 * @nr_contexts: length of that list
 * @detached: page tables that no hart can reach any more, to be freed
 * @nr_detached: length of that list
 * @free_work: frees them for those who cannot, being called with the lock held
 * @kvm: the VM
 * @seq: counts HFENCEs of L1, so that a walk of its tables can notice one
 */
struct kvm_nested_mmu {
	struct list_head contexts;
	unsigned int nr_contexts;
	struct list_head detached;
	unsigned long nr_detached;
	struct work_struct free_work;
	struct kvm *kvm;
	unsigned long seq;
};

/**
 * struct kvm_vcpu_nested - nested virtualization state of one vCPU
 *
 * @virt: virtualization mode of L1: false while L1 runs, true while L2 runs
 * @csr: hypervisor CSRs of L1
 * @vs_aia: AIA CSRs of VS level; on the hart while @virt is true
 * @host_fs_vs: sstatus.FS and sstatus.VS of L0's view while L2 runs
 * @vgein: hstatus.VGEIN of L0's choice for L1 while L2 runs
 * @gstage: shadow that was used last, counted in kvm_nested_gstage.users
 * @l1_timer: makes the vCPU leave the guest when a timer expires that is not in
 *	      vstimecmp of the hart
 * @l1_timer_expiry: when @l1_timer expires, in cycles of the hart's time CSR
 */
struct kvm_vcpu_nested {
	bool virt;
	struct kvm_vcpu_nested_csr csr;
	struct kvm_vcpu_aia_csr vs_aia;
	unsigned long host_fs_vs;
	unsigned long vgein;
	struct kvm_nested_gstage *gstage;
	struct hrtimer l1_timer;
	u64 l1_timer_expiry;
};

#endif

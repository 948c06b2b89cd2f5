// SPDX-License-Identifier: GPL-2.0-only
/*
 * Nested virtualization: the hypervisor fences of the SBI RFENCE extension.
 */

#include <linux/kvm_host.h>
#include <asm/kvm_tlb.h>
#include <asm/kvm_vcpu_nested.h>
#include <asm/kvm_vcpu_pmu.h>
#include <asm/sbi.h>
#include "nested.h"

struct remote_vvma {
	unsigned long hbase;
	unsigned long hmask;
	unsigned long start;
	unsigned long size;
	unsigned long asid;
	bool has_asid;
	bool all;
};

static void remote_hfence_vvma(struct kvm *kvm, unsigned long vmid, void *data)
{
	struct remote_vvma *r = data;

	if (r->all && r->has_asid)
		kvm_riscv_hfence_vvma_asid_all(kvm, r->hbase, r->hmask, r->asid, vmid);
	else if (r->all)
		kvm_riscv_hfence_vvma_all(kvm, r->hbase, r->hmask, vmid);
	else if (r->has_asid)
		kvm_riscv_hfence_vvma_asid_gva(kvm, r->hbase, r->hmask, r->start,
					       r->size, PAGE_SHIFT, r->asid, vmid);
	else
		kvm_riscv_hfence_vvma_gva(kvm, r->hbase, r->hmask, r->start,
					  r->size, PAGE_SHIFT, vmid);
}

/**
 * kvm_riscv_nested_rfence - remote hypervisor fence of L1 (SBI 3.0 chapter 8)
 * @vcpu: loaded vCPU that made the call
 * @retdata: where the SBI error code goes
 *
 * Fences of the G-stage act on all harts because these share the shadows. Those
 * of the VS-stage are for the VMID in hgatp of the calling hart.
 */
void kvm_riscv_nested_rfence(struct kvm_vcpu *vcpu,
			     struct kvm_vcpu_sbi_return *retdata)
{
	struct kvm_cpu_context *cp = &vcpu->arch.guest_context;
	unsigned long hgatp = vcpu->arch.nested.csr.hgatp;
	struct remote_vvma r = {
		.hmask = cp->a0,
		.hbase = cp->a1,
		.start = cp->a2,
		.size = cp->a3,
		.asid = cp->a4,
	};
	unsigned long vmid = -1UL, event;

	if (!kvm_riscv_nested_vcpu(vcpu)) {
		retdata->err_val = SBI_ERR_NOT_SUPPORTED;
		return;
	}

	/* Everything; also if the range goes beyond the last address */
	r.all = (!r.start && !r.size) || r.start + r.size < r.start ||
		r.size == -1UL;
	if (r.all) {
		r.start = 0;
		r.size = -1UL;
	} else {
		/* Whole pages */
		r.size += r.start & ~PAGE_MASK;
		r.start &= PAGE_MASK;
	}

	event = SBI_PMU_FW_HFENCE_GVMA_SENT;
	switch (cp->a6) {
	case SBI_EXT_RFENCE_REMOTE_HFENCE_GVMA_VMID:
		event = SBI_PMU_FW_HFENCE_GVMA_VMID_SENT;
		vmid = cp->a4 & (HGATP_VMID >> HGATP_VMID_SHIFT);
		fallthrough;
	case SBI_EXT_RFENCE_REMOTE_HFENCE_GVMA:
		kvm_riscv_nested_hfence_gvma(vcpu->kvm, vmid, r.start, r.size);
		break;
	case SBI_EXT_RFENCE_REMOTE_HFENCE_VVMA_ASID:
		r.has_asid = true;
		fallthrough;
	case SBI_EXT_RFENCE_REMOTE_HFENCE_VVMA:
		event = r.has_asid ? SBI_PMU_FW_HFENCE_VVMA_ASID_SENT :
				     SBI_PMU_FW_HFENCE_VVMA_SENT;
		vmid = (hgatp & HGATP_VMID) >> HGATP_VMID_SHIFT;
		kvm_riscv_nested_hfence_vvma(vcpu->kvm, vmid, remote_hfence_vvma, &r);
		break;
	default:
		retdata->err_val = SBI_ERR_NOT_SUPPORTED;
		return;
	}
	kvm_riscv_vcpu_pmu_incr_fw(vcpu, event);
}

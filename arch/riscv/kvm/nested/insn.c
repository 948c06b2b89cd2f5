// SPDX-License-Identifier: GPL-2.0-only
/*
 * Nested virtualization: instructions of HS-mode that L1 executes in VS-mode.
 *
 * The hart raises a virtual-instruction exception for each of them, because
 * they would be valid in HS-mode (privileged specification 15.3 and 15.6.1).
 * Only L1 gets here; what L2 tries goes to L1 as the same exception.
 */

#include <linux/kvm_host.h>
#include <asm/insn.h>
#include <asm/insn-def.h>
#include <asm/kvm_mmu.h>
#include <asm/kvm_tlb.h>
#include <asm/kvm_vcpu_nested.h>
#include "nested.h"

#define L1_HS_MODE(vcpu)	((vcpu)->arch.guest_context.sstatus & SR_SPP)

/**
 * kvm_riscv_nested_sret - SRET of L1 that changes the virtualization mode
 * @vcpu: loaded vCPU that runs L1
 * @run: its kvm_run
 * @insn: the instruction
 *
 * Implements SRET in HS-mode (privileged specification 15.6.4).
 *
 * Return: enum kvm_insn_return, or -ENOMEM.
 */
int kvm_riscv_nested_sret(struct kvm_vcpu *vcpu, struct kvm_run *run, ulong insn)
{
	struct kvm_cpu_context *ctx = &vcpu->arch.guest_context;
	unsigned long vsstatus, keep;
	int ret;

	if (!kvm_riscv_nested_vcpu(vcpu) || !L1_HS_MODE(vcpu))
		return KVM_INSN_ILLEGAL_TRAP;

	if (vcpu->arch.nested.csr.hstatus & HSTATUS_SPV) {
		ret = kvm_riscv_nested_gstage_get(vcpu);
		if (ret)
			return ret;
	}

	/* No preemption may see the new mode with the old program counter */
	preempt_disable();
	vsstatus = csr_read(CSR_VSSTATUS);
	keep = vsstatus & (SR_SPP | SR_SPELP);
	vsstatus &= ~(SR_SPP | SR_SIE | SR_SPELP);
	if (vsstatus & SR_SPIE)
		vsstatus |= SR_SIE;
	vsstatus |= SR_SPIE;
	csr_write(CSR_VSSTATUS, vsstatus);

	ctx->sepc = csr_read(CSR_VSEPC);
	ctx->sstatus = (ctx->sstatus & ~(SR_SPP | SR_SPELP)) | keep;
	if (vcpu->arch.nested.csr.hstatus & HSTATUS_SPV)
		kvm_riscv_nested_enter_l2(vcpu);
	preempt_enable();

	return KVM_INSN_CONTINUE_SAME_SEPC;
}

/**
 * kvm_riscv_nested_hfence_gvma_insn - HFENCE.GVMA or HINVAL.GVMA of L1
 * @vcpu: loaded vCPU that runs L1
 * @run: its kvm_run
 * @insn: the instruction
 *
 * Return: enum kvm_insn_return
 */
int kvm_riscv_nested_hfence_gvma_insn(struct kvm_vcpu *vcpu, struct kvm_run *run, ulong insn)
{
	unsigned long gpa = 0, size = -1UL, vmid = -1UL;

	if (!kvm_riscv_nested_vcpu(vcpu) || !L1_HS_MODE(vcpu))
		return KVM_INSN_ILLEGAL_TRAP;

	/* x0 as the register means all, its value does not */
	if ((insn >> SH_RS1) & MASK_RX) {
		gpa = GET_RS1(insn, &vcpu->arch.guest_context) << 2;
		size = 1;
	}
	if ((insn >> SH_RS2) & MASK_RX)
		vmid = GET_RS2(insn, &vcpu->arch.guest_context) &
		       (HGATP_VMID >> HGATP_VMID_SHIFT);

	kvm_riscv_nested_hfence_gvma(vcpu->kvm, vmid, gpa, size);
	return KVM_INSN_CONTINUE_NEXT_SEPC;
}

struct vvma {
	bool has_addr;
	bool has_asid;
	unsigned long addr;
	unsigned long asid;
};

static void local_hfence_vvma(struct kvm *kvm, unsigned long vmid, void *data)
{
	struct vvma *v = data;

	if (v->has_addr && v->has_asid)
		kvm_riscv_local_hfence_vvma_asid_gva(vmid, v->asid, v->addr,
						     PAGE_SIZE, PAGE_SHIFT);
	else if (v->has_addr)
		kvm_riscv_local_hfence_vvma_gva(vmid, v->addr, PAGE_SIZE, PAGE_SHIFT);
	else if (v->has_asid)
		kvm_riscv_local_hfence_vvma_asid_all(vmid, v->asid);
	else
		kvm_riscv_local_hfence_vvma_all(vmid);
}

/**
 * kvm_riscv_nested_hfence_vvma_insn - HFENCE.VVMA or HINVAL.VVMA of L1
 * @vcpu: loaded vCPU that runs L1
 * @run: its kvm_run
 * @insn: the instruction
 *
 * Acts on the VMID in L1's hgatp, on this hart only.
 *
 * Return: enum kvm_insn_return
 */
int kvm_riscv_nested_hfence_vvma_insn(struct kvm_vcpu *vcpu, struct kvm_run *run, ulong insn)
{
	unsigned long vmid = (vcpu->arch.nested.csr.hgatp & HGATP_VMID) >> HGATP_VMID_SHIFT;
	struct vvma v = {
		.has_addr = (insn >> SH_RS1) & MASK_RX,
		.has_asid = (insn >> SH_RS2) & MASK_RX,
		.addr = GET_RS1(insn, &vcpu->arch.guest_context) & PAGE_MASK,
		.asid = GET_RS2(insn, &vcpu->arch.guest_context),
	};

	if (!kvm_riscv_nested_vcpu(vcpu) || !L1_HS_MODE(vcpu))
		return KVM_INSN_ILLEGAL_TRAP;

	kvm_riscv_tlb_flush_begin(vcpu);
	kvm_riscv_nested_hfence_vvma(vcpu->kvm, vmid, local_hfence_vvma, &v);
	kvm_riscv_tlb_flush_end();
	return KVM_INSN_CONTINUE_NEXT_SEPC;
}

/* Function codes of the hypervisor loads and stores, as funct7 << 5 | rs2 */
#define HLV(__funct7, __rs2)	((__funct7) << 5 | (__rs2))
enum hlsv {
	HLV_B_CODE = HLV(0x30, 0), HLV_BU_CODE = HLV(0x30, 1),
	HLV_H_CODE = HLV(0x32, 0), HLV_HU_CODE = HLV(0x32, 1),
	HLVX_HU_CODE = HLV(0x32, 3),
	HLV_W_CODE = HLV(0x34, 0), HLV_WU_CODE = HLV(0x34, 1),
	HLVX_WU_CODE = HLV(0x34, 3),
	HLV_D_CODE = HLV(0x36, 0),
};

#define HSV_B_FUNCT7	0x31
#define HSV_H_FUNCT7	0x33
#define HSV_W_FUNCT7	0x35
#define HSV_D_FUNCT7	0x37

/*
 * The trap handler for these, __kvm_riscv_unpriv_trap, wants a0 to point to a
 * struct kvm_cpu_trap, uses a1, and skips four bytes. A variable that is tied to a0
 * would lose its value in any call before.
 */
#define do_hlv(__f7, __rs2)						\
({									\
	asm volatile(".option push\n"					\
		     ".option norvc\n"					\
		     "mv a0, %[trap]\n"					\
		     __INSN_R(RV_OPCODE_SYSTEM, RV_FUNC3(4),		\
			      RV_FUNC7(__f7), "%[val]", "%[addr]",	\
			      RV___RS2(__rs2)) "\n"			\
		     ".option pop"					\
		     : [val] "+&r" (val)				\
		     : [addr] "r" (addr), [trap] "r" (trap)		\
		     : "a0", "a1", "memory");				\
})

#define do_hsv(__f7)							\
({									\
	asm volatile(".option push\n"					\
		     ".option norvc\n"					\
		     "mv a0, %[trap]\n"					\
		     __INSN_R(RV_OPCODE_SYSTEM, RV_FUNC3(4),		\
			      RV_FUNC7(__f7), RV___RD(0), "%[addr]",	\
			      "%[val]") "\n"				\
		     ".option pop"					\
		     : : [addr] "r" (addr), [val] "r" (val), [trap] "r" (trap) \
		     : "a0", "a1", "memory");				\
})

static unsigned long exec_hlv(unsigned int code, unsigned long addr,
			      struct kvm_cpu_trap *trap)
{
	unsigned long val = 0;

	switch (code) {
	case HLV_B_CODE:
		do_hlv(0x30, 0);
		break;
	case HLV_BU_CODE:
		do_hlv(0x30, 1);
		break;
	case HLV_H_CODE:
		do_hlv(0x32, 0);
		break;
	case HLV_HU_CODE:
		do_hlv(0x32, 1);
		break;
	case HLVX_HU_CODE:
		do_hlv(0x32, 3);
		break;
	case HLV_W_CODE:
		do_hlv(0x34, 0);
		break;
	case HLV_WU_CODE:
		do_hlv(0x34, 1);
		break;
	case HLVX_WU_CODE:
		do_hlv(0x34, 3);
		break;
	case HLV_D_CODE:
		do_hlv(0x36, 0);
		break;
	}

	return val;
}

static void exec_hsv(unsigned int funct7, unsigned long addr, unsigned long val,
		     struct kvm_cpu_trap *trap)
{
	switch (funct7) {
	case HSV_B_FUNCT7:
		do_hsv(0x31);
		break;
	case HSV_H_FUNCT7:
		do_hsv(0x33);
		break;
	case HSV_W_FUNCT7:
		do_hsv(0x35);
		break;
	case HSV_D_FUNCT7:
		do_hsv(0x37);
		break;
	}
}

/*
 * Execute a hypervisor load or store on the hart, with the translation that L2
 * would have. Returns false if it could not be done now.
 */
static bool exec_as_l2(struct kvm_vcpu *vcpu, ulong insn, unsigned long addr,
		       unsigned long *val, struct kvm_cpu_trap *trap)
{
	struct kvm_vcpu_nested *n = &vcpu->arch.nested;
	unsigned long hstatus, vsstatus, vsatp, hgatp, stvec, henvcfg;
	unsigned int funct7 = insn >> 25;
	unsigned long flags;
	bool done = false;

	local_irq_save(flags);

	/*
	 * From here on those who free memory of the guest wait for this hart,
	 * as they do while it runs the guest.
	 */
	WRITE_ONCE(vcpu->mode, READING_SHADOW_PAGE_TABLES);
	/* Pairs with the one between making a request and reading the mode */
	smp_mb();
	if (kvm_request_pending(vcpu) ||
	    kvm_riscv_gstage_vmid_ver_changed(&n->gstage->vmid) ||
	    vcpu->arch.last_exit_cpu != smp_processor_id())
		goto out;

	/* vsatp first and last, as in switch_bank() */
	vsatp = csr_swap(CSR_VSATP, 0);
	hstatus = vcpu->arch.guest_context.hstatus & ~HSTATUS_SPVP;
	hstatus |= n->csr.hstatus & HSTATUS_SPVP;
	hstatus = csr_swap(CSR_HSTATUS, hstatus);
	vsstatus = csr_swap(CSR_VSSTATUS, vcpu->arch.l2_csr.vsstatus);
	henvcfg = csr_swap(CSR_HENVCFG, vcpu->arch.cfg.henvcfg & n->csr.henvcfg);
	hgatp = csr_swap(CSR_HGATP, kvm_riscv_nested_hgatp(n->gstage));
	csr_write(CSR_VSATP, vcpu->arch.l2_csr.vsatp);
	stvec = csr_swap(CSR_STVEC, (unsigned long)&__kvm_riscv_unpriv_trap);

	/* sstatus.MXR of HS-mode acts on both stages, that of VS-mode on one */
	if (vsstatus & SR_MXR)
		csr_set(CSR_SSTATUS, SR_MXR);

	if (funct7 & 1)
		exec_hsv(funct7, addr, *val, trap);
	else
		*val = exec_hlv(insn >> SH_RS2, addr, trap);

	csr_clear(CSR_SSTATUS, SR_MXR);
	csr_write(CSR_STVEC, stvec);
	csr_write(CSR_VSATP, 0);
	csr_write(CSR_HGATP, hgatp);
	csr_write(CSR_HENVCFG, henvcfg);
	csr_write(CSR_VSSTATUS, vsstatus);
	csr_write(CSR_HSTATUS, hstatus);
	csr_write(CSR_VSATP, vsatp);
	done = true;
out:
	/* The access comes before the end of the section */
	smp_store_mb(vcpu->mode, OUTSIDE_GUEST_MODE);
	local_irq_restore(flags);

	return done;
}

/*
 * HLVX raises load exceptions (privileged specification 15.3.1), but QEMU 10.0
 * reports all its faults as instruction page faults. Those of the G-stage have the
 * guest physical address all the same.
 */
static void hlvx_fixup(struct kvm_vcpu *vcpu, struct kvm_cpu_trap *trap)
{
	if (trap->scause != EXC_INST_PAGE_FAULT)
		return;

	if (trap->htval || kvm_riscv_nested_implicit(trap) ||
	    !(vcpu->arch.l2_csr.vsatp >> SATP_MODE_SHIFT))
		trap->scause = EXC_LOAD_GUEST_PAGE_FAULT;
	else
		trap->scause = EXC_LOAD_PAGE_FAULT;
}

static bool hlsv_valid(ulong insn)
{
	switch (insn >> SH_RS2) {
	case HLV_B_CODE:
	case HLV_BU_CODE:
	case HLV_H_CODE:
	case HLV_HU_CODE:
	case HLVX_HU_CODE:
	case HLV_W_CODE:
	case HLV_WU_CODE:
	case HLVX_WU_CODE:
	case HLV_D_CODE:
		return true;
	}

	switch (insn >> 25) {
	case HSV_B_FUNCT7:
	case HSV_H_FUNCT7:
	case HSV_W_FUNCT7:
	case HSV_D_FUNCT7:
		return !((insn >> SH_RD) & MASK_RX);
	}

	return false;
}

/* A trap of the access from HS-mode: what L1 sees has GVA set, SPV clear */
static void inject_hlsv_trap(struct kvm_vcpu *vcpu, struct kvm_cpu_trap *trap)
{
	trap->sepc = vcpu->arch.guest_context.sepc;
	kvm_riscv_vcpu_trap_redirect(vcpu, trap);
	vcpu->arch.nested.csr.hstatus |= HSTATUS_GVA;
}

/**
 * kvm_riscv_nested_hlsv_insn - HLV, HLVX or HSV of L1
 * @vcpu: loaded vCPU that runs L1
 * @run: its kvm_run
 * @insn: the instruction, with the opcode and function of these
 *
 * Whatever stands in the way and goes away, a page that L0 has to map or a
 * pending request, makes L1 execute the instruction again.
 *
 * Context: process context, srcu held, may sleep.
 * Return: enum kvm_insn_return, or an errno.
 */
int kvm_riscv_nested_hlsv_insn(struct kvm_vcpu *vcpu, struct kvm_run *run, ulong insn)
{
	struct kvm_cpu_context *ctx = &vcpu->arch.guest_context;
	struct kvm_cpu_trap trap = { 0 };
	unsigned long val, addr;
	bool hlvx = !((insn >> 25) & 1) && ((insn >> SH_RS2) & MASK_RX) == 3;
	u64 access;
	gpa_t gpa;
	int ret;

	if (!kvm_riscv_nested_vcpu(vcpu) || !hlsv_valid(insn))
		return KVM_INSN_ILLEGAL_TRAP;
	if (!L1_HS_MODE(vcpu) && !(vcpu->arch.nested.csr.hstatus & HSTATUS_HU))
		return KVM_INSN_ILLEGAL_TRAP;

	ret = kvm_riscv_nested_gstage_get(vcpu);
	if (ret)
		return ret;
	kvm_riscv_gstage_vmid_update(vcpu, &vcpu->arch.nested.gstage->vmid);

	addr = GET_RS1(insn, ctx);
	val = GET_RS2(insn, ctx);
	if (!exec_as_l2(vcpu, insn, addr, &val, &trap))
		return KVM_INSN_CONTINUE_SAME_SEPC;
	if (hlvx)
		hlvx_fixup(vcpu, &trap);

	switch (trap.scause) {
	case 0:
		if (!((insn >> 25) & 1) && (insn >> SH_RD) & MASK_RX)
			SET_RD(insn, ctx, val);
		return KVM_INSN_CONTINUE_NEXT_SEPC;
	case EXC_LOAD_GUEST_PAGE_FAULT:
	case EXC_STORE_GUEST_PAGE_FAULT:
		access = kvm_riscv_nested_fault_access(&trap);
		if (hlvx && !kvm_riscv_nested_implicit(&trap))
			access = _PAGE_EXEC;
		ret = kvm_riscv_nested_gstage_map(vcpu, access, &trap, &gpa);
		if (ret == 1)
			return KVM_INSN_CONTINUE_SAME_SEPC;
		if (ret == -ENXIO) {
			trap.scause = trap.scause == EXC_LOAD_GUEST_PAGE_FAULT ?
				      EXC_LOAD_ACCESS : EXC_STORE_ACCESS;
			trap.htval = 0;
			trap.htinst = 0;
		} else if (ret < 0) {
			return ret;
		}
		break;
	}

	/* What the hart transformed is the instruction of L0, with other registers */
	if (!kvm_riscv_nested_implicit(&trap))
		trap.htinst = 0;

	inject_hlsv_trap(vcpu, &trap);
	return KVM_INSN_CONTINUE_SAME_SEPC;
}

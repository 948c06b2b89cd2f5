// SPDX-License-Identifier: GPL-2.0-only
/*
 * Nested virtualization: exits that are served right after the world switch.
 *
 * Most exits of a hypervisor and its guest are a trapped CSR instruction, a
 * switch to L2, or a trap of L2 that is L1's. They need nothing but state of
 * the vCPU, so they are served with interrupts disabled and vcpu->mode still
 * IN_GUEST_MODE, and the guest is entered again at once. For the rest of the
 * kernel the vCPU has not left the guest: whoever wants it out sends an IPI,
 * which ends the guest as soon as it is entered.
 *
 * That there is a slow path which serves everything allows each step here to
 * say no, as long as it has not changed anything that the slow path would then
 * do a second time.
 */

#include <linux/entry-virt.h>
#include <linux/kvm_host.h>
#include <asm/insn.h>
#include <asm/kvm_aia.h>
#include <asm/kvm_vcpu_nested.h>
#include <asm/sbi.h>
#include "nested.h"
#include "trace.h"

/*
 * What the slow path is needed for, whatever the exit is. All in one place:
 *
 * - interrupts of the host, which have to be taken;
 * - requests, signals, and whoever else needs this hart;
 * - interrupts for the vCPU that are not in hvip yet, or that L1 raised or
 *   cleared by itself;
 * - VMIDs that are not valid any more;
 * - shared memory that was taken away;
 * - tracing of entries and exits, and a debugger of the guest.
 *
 * Events that come after the check end the guest by an IPI or a timer interrupt.
 */
static bool slow_path_needed(struct kvm_vcpu *vcpu, struct kvm_cpu_trap *trap)
{
	struct kvm_vcpu_nested *n = &vcpu->arch.nested;

	if (trap->scause & CAUSE_IRQ_FLAG)
		return true;

	if (kvm_request_pending(vcpu) || xfer_to_guest_mode_work_pending())
		return true;

	if (READ_ONCE(vcpu->arch.irqs_pending_mask[0]))
		return true;

	if (kvm_riscv_gstage_vmid_ver_changed(&vcpu->kvm->arch.vmid) ||
	    (n->gstage && kvm_riscv_gstage_vmid_ver_changed(&n->gstage->vmid)))
		return true;

	if (n->shmem.gpa != INVALID_GPA && !READ_ONCE(n->shmem.mapped))
		return true;

	return trace_kvm_entry_enabled() || trace_kvm_exit_enabled() ||
	       trace_kvm_vcpu_exit_enabled() || vcpu->guest_debug;
}

/* Can L1 be left, or has it changed interrupts that L0 has to know of? */
static bool l1_interrupts_unchanged(struct kvm_vcpu *vcpu)
{
	unsigned long shared = BIT(IRQ_VS_SOFT) | BIT(IRQ_PMU_OVF);

	return !((csr_read(CSR_HVIP) ^ vcpu->arch.guest_csr.hvip) & shared);
}

/* An instruction that accesses one of the CSRs of HS-mode */
static bool csr_insn(struct kvm_vcpu *vcpu, unsigned long insn)
{
	struct kvm_cpu_context *ctx = &vcpu->arch.guest_context;
	unsigned int rs1 = (insn >> SH_RS1) & MASK_RX;
	unsigned long src, val, new_val, wr_mask;

	/* Those with the highest bit set take a number instead of a register */
	src = GET_FUNCT3(insn) & 4 ? rs1 : GET_RS1(insn, ctx);
	switch (GET_FUNCT3(insn) & 3) {
	case 1:
		new_val = src;
		wr_mask = -1UL;
		break;
	case 2:
		new_val = -1UL;
		wr_mask = src;
		break;
	case 3:
		new_val = 0;
		wr_mask = src;
		break;
	default:
		return false;
	}

	if (kvm_riscv_nested_csr_rmw(vcpu, insn >> SH_RS2, &val, new_val, wr_mask) !=
	    KVM_INSN_CONTINUE_NEXT_SEPC)
		return false;

	if ((insn >> SH_RD) & MASK_RX)
		SET_RD(insn, ctx, val);
	ctx->sepc += INSN_LEN(insn);
	vcpu->stat.csr_exit_kernel++;
	return true;
}

static bool l1_virtual_insn(struct kvm_vcpu *vcpu, struct kvm_cpu_trap *trap)
{
	unsigned long insn = trap->stval;

	/* Privileged instructions are for HS-mode; zero stands for unknown */
	if ((insn & INSN_OPCODE_MASK) >> INSN_OPCODE_SHIFT != INSN_OPCODE_SYSTEM ||
	    !(vcpu->arch.guest_context.sstatus & SR_SPP))
		return false;

	/* The number of a CSR of HS-mode */
	if (((insn >> SH_RS2) & 0x300) == 0x200 && GET_FUNCT3(insn))
		return csr_insn(vcpu, insn);

	if (insn != INSN_MATCH_SRET || !kvm_riscv_nested_has_shadow(vcpu) ||
	    !l1_interrupts_unchanged(vcpu))
		return false;

	kvm_riscv_nested_sret_commit(vcpu);
	return true;
}

static bool l1_trap(struct kvm_vcpu *vcpu, struct kvm_cpu_trap *trap)
{
	switch (trap->scause) {
	case EXC_VIRTUAL_INST_FAULT:
		return l1_virtual_insn(vcpu, trap);
	case EXC_SUPERVISOR_SYSCALL:
		return vcpu->arch.guest_context.a7 == SBI_EXT_NACL &&
		       l1_interrupts_unchanged(vcpu) &&
		       kvm_riscv_nested_nacl_fast_call(vcpu);
	}

	return false;
}

/**
 * kvm_riscv_nested_fastpath - serve an exit without leaving guest mode
 * @vcpu: vCPU with the H extension that just left the guest
 * @trap: what the hart reported
 *
 * Context: interrupts disabled, vcpu->mode not OUTSIDE_GUEST_MODE.
 * Return: true if the guest is to be entered again; false if nothing was done
 * that the slow path would do again.
 */
bool kvm_riscv_nested_fastpath(struct kvm_vcpu *vcpu, struct kvm_cpu_trap *trap)
{
	bool virt = vcpu->arch.nested.virt;

	if (slow_path_needed(vcpu, trap))
		return false;

	if (virt ? !kvm_riscv_nested_fast_exit(vcpu, trap) : !l1_trap(vcpu, trap))
		return false;

	if (virt != vcpu->arch.nested.virt) {
		kvm_riscv_nested_flush_interrupts(vcpu);
		kvm_riscv_vcpu_aia_update_hvip(vcpu);
	}
	kvm_riscv_nested_nacl_update(vcpu);

	vcpu->stat.exits++;
	vcpu->stat.nested_fast_exits++;
	return true;
}

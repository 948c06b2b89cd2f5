// SPDX-License-Identifier: GPL-2.0-only
/*
 * Nested virtualization: transitions between L1 and L2.
 *
 * Who owns what, by virtualization mode of L1:
 *
 *   state                        V = 0 (L1 runs)     V = 1 (L2 runs)
 *   ---------------------------  ------------------  -------------------------
 *   L1's s* CSRs                 vs* CSRs of hart    guest_csr
 *   L1's vs* CSRs (L2's s*)      l2_csr              vs* CSRs of hart
 *   L1's h* CSRs                 nested.csr          nested.csr, merged
 *   hgatp                        the VM's G-stage    shadow G-stage
 *   hedeleg, hideleg, henvcfg,   L0's choice         L0's choice and L1's
 *   hstateen0, hcounteren
 *   htimedelta                   delta of L1         delta of L1 + L1's own
 *   vstimecmp                    timer of L1         timer of L2
 *   hstatus.VGEIN                L1's guest file     0
 *
 * ssp, senvcfg, scounteren and sstateen0 are one register for both levels, as
 * they are on a hart: L1 switches them.
 */

#include <linux/delay.h>
#include <linux/kvm_host.h>
#include <asm/insn.h>
#include <asm/kvm_mmu.h>
#include <asm/kvm_vcpu_nested.h>
#include "nested.h"
#include "trace.h"

/* Exceptions for which the hart writes a guest virtual address to stval */
#define EXC_WITH_GVA	(BIT(EXC_INST_MISALIGNED)	| \
			 BIT(EXC_INST_ACCESS)		| \
			 BIT(EXC_BREAKPOINT)		| \
			 BIT(EXC_LOAD_MISALIGNED)	| \
			 BIT(EXC_LOAD_ACCESS)		| \
			 BIT(EXC_STORE_MISALIGNED)	| \
			 BIT(EXC_STORE_ACCESS)		| \
			 BIT(EXC_INST_PAGE_FAULT)	| \
			 BIT(EXC_LOAD_PAGE_FAULT)	| \
			 BIT(EXC_STORE_PAGE_FAULT)	| \
			 BIT(EXC_INST_GUEST_PAGE_FAULT)	| \
			 BIT(EXC_LOAD_GUEST_PAGE_FAULT)	| \
			 BIT(EXC_STORE_GUEST_PAGE_FAULT))

/* Counters that hcounteren guards: cycle, time, instret, hpmcounter3 to 31 */
#define NR_COUNTERS	32

/* How often L0 looks whether L1 accepts an interrupt that has to wait, per second */
#define POLL_HZ		4000

/**
 * kvm_riscv_nested_config - merge L1's configuration CSRs into L0's
 * @vcpu: vCPU with the H extension
 * @cfg: where the configuration for the hart goes
 * @hcounteren: where hcounteren for the hart goes; its initial value is L0's
 *
 * While V = 1 nothing is allowed that either level forbids, except for FIOM and
 * LPE, which are not subject to the setting of a more privileged mode. While
 * V = 0 and L1's hstatus.SPV is set, no exception is delegated to L1: its traps
 * have to clear SPV, and hardware would not do that (privileged specification
 * 15.2.1).
 */
void kvm_riscv_nested_config(struct kvm_vcpu *vcpu, struct kvm_vcpu_config *cfg,
			     unsigned long *hcounteren)
{
	struct kvm_vcpu_nested_csr *csr = &vcpu->arch.nested.csr;

	*cfg = vcpu->arch.cfg;
	if (!vcpu->arch.nested.virt) {
		if (csr->hstatus & HSTATUS_SPV)
			cfg->hedeleg = 0;
		return;
	}

	cfg->hedeleg &= csr->hedeleg;
	cfg->hideleg &= csr->hideleg;
	cfg->henvcfg &= csr->henvcfg;
	cfg->henvcfg |= csr->henvcfg & (ENVCFG_FIOM | ENVCFG_LPE);
	if (riscv_isa_extension_available(vcpu->arch.isa, SMSTATEEN))
		cfg->hstateen0 &= csr->hstateen0;
	*hcounteren &= csr->hcounteren;
}

/* Interrupts of VS level go to L2 only as far as L1 delegates them */
static unsigned long l2_hvip(struct kvm_vcpu *vcpu)
{
	struct kvm_vcpu_nested_csr *csr = &vcpu->arch.nested.csr;

	return csr->hvip & csr->hideleg & NESTED_VS_IRQS;
}

static unsigned long l2_vsie(struct kvm_vcpu *vcpu)
{
	struct kvm_vcpu_nested_csr *csr = &vcpu->arch.nested.csr;

	return (csr->hie & csr->hideleg & NESTED_VS_IRQS) >> VSIP_TO_HVIP_SHIFT;
}

/* Traps of VS-mode that the hart has to take in the present state */
static void update_hart_hstatus(struct kvm_vcpu *vcpu)
{
	struct kvm_vcpu_nested_csr *csr = &vcpu->arch.nested.csr;
	unsigned long traps = HSTATUS_VTW;

	/*
	 * L1's SRET traps only if it changes V, so that returns from its own
	 * kernel to its own userspace cost nothing. WFI always traps: if L1
	 * does not want to see it, L0 blocks the vCPU.
	 */
	if (vcpu->arch.nested.virt)
		traps |= csr->hstatus & (HSTATUS_VTSR | HSTATUS_VTVM);
	else if (csr->hstatus & HSTATUS_SPV)
		traps |= HSTATUS_VTSR;

	vcpu->arch.guest_context.hstatus &= ~(HSTATUS_VTSR | HSTATUS_VTVM | HSTATUS_VTW);
	vcpu->arch.guest_context.hstatus |= traps;
}

/**
 * kvm_riscv_nested_hstatus_changed - make a new hstatus of L1 effective
 * @vcpu: loaded vCPU that runs L1
 *
 * Also to be called when kvm_vcpu_config.hedeleg changed, which is not what the
 * hart has while hstatus.SPV is set.
 *
 * Context: any.
 */
void kvm_riscv_nested_hstatus_changed(struct kvm_vcpu *vcpu)
{
	struct kvm_vcpu_config cfg;
	unsigned long hcounteren = 0;

	update_hart_hstatus(vcpu);

	preempt_disable();
	kvm_riscv_nested_config(vcpu, &cfg, &hcounteren);
	csr_write(CSR_HEDELEG, cfg.hedeleg);
	preempt_enable();
}

/**
 * kvm_riscv_nested_load - prepare the in-memory image of L2 for the hart
 * @vcpu: vCPU that is being loaded
 *
 * Userspace may have written any CSR since the vCPU was put.
 */
void kvm_riscv_nested_load(struct kvm_vcpu *vcpu)
{
	update_hart_hstatus(vcpu);
	if (!vcpu->arch.nested.virt)
		return;

	vcpu->arch.l2_csr.vsie = l2_vsie(vcpu);
	vcpu->arch.l2_csr.hvip = l2_hvip(vcpu);
}

/*
 * Exchange what the hart has of L1 and L2.
 *
 * vsie is cleared first: with a smaller hideleg its bits would be left behind
 * in hie, where L0 would take the interrupts of L2 for its own. vsatp is cleared
 * first and set last: a speculative walk of L2's page tables must not find the
 * VMID or configuration of L1, nor the other way round.
 */
static void switch_bank(struct kvm_vcpu *vcpu, bool virt)
{
	struct kvm_vcpu_aia_csr *old_aia = kvm_riscv_vcpu_hw_aia_csr(vcpu), *new_aia;
	struct kvm_vcpu_csr *old = kvm_riscv_vcpu_hw_csr(vcpu), *new;

	kvm_riscv_vcpu_timer_sync(vcpu);
	old->vsie = csr_swap(CSR_VSIE, 0);
	old->vsatp = csr_swap(CSR_VSATP, 0);

	vcpu->arch.nested.virt = virt;
	kvm_riscv_nested_load(vcpu);
	new = kvm_riscv_vcpu_hw_csr(vcpu);
	new_aia = kvm_riscv_vcpu_hw_aia_csr(vcpu);

	kvm_riscv_vcpu_config_load(vcpu);
	old->vsstatus = csr_swap(CSR_VSSTATUS, new->vsstatus);
	old->vstvec = csr_swap(CSR_VSTVEC, new->vstvec);
	old->vsscratch = csr_swap(CSR_VSSCRATCH, new->vsscratch);
	old->vsepc = csr_swap(CSR_VSEPC, new->vsepc);
	old->vscause = csr_swap(CSR_VSCAUSE, new->vscause);
	old->vstval = csr_swap(CSR_VSTVAL, new->vstval);
	csr_write(CSR_HVIP, new->hvip);
	csr_write(CSR_VSIE, new->vsie);

	if (kvm_riscv_aia_available()) {
		old_aia->vsiselect = csr_swap(CSR_VSISELECT, new_aia->vsiselect);
		old_aia->hviprio1 = csr_swap(CSR_HVIPRIO1, new_aia->hviprio1);
		old_aia->hviprio2 = csr_swap(CSR_HVIPRIO2, new_aia->hviprio2);
	}

	kvm_riscv_mmu_update_hgatp(vcpu);
	csr_write(CSR_VSATP, new->vsatp);
	kvm_riscv_vcpu_timer_load(vcpu);
}

/**
 * kvm_riscv_nested_enter_l2 - set V = 1
 * @vcpu: loaded vCPU that runs L1 and has a shadow of L1's present hgatp
 *
 * The program counter and privilege mode are the caller's business.
 *
 * Context: may be preempted before and after.
 */
void kvm_riscv_nested_enter_l2(struct kvm_vcpu *vcpu)
{
	trace_kvm_nested_enter(vcpu->vcpu_id, vcpu->arch.guest_context.sepc,
			       vcpu->arch.nested.csr.hgatp);
	vcpu->stat.nested_entries++;

	preempt_disable();
	vcpu->arch.nested.csr.hstatus &= ~HSTATUS_SPV;
	switch_bank(vcpu, true);
	preempt_enable();
}

static void count_exit(struct kvm_vcpu *vcpu, unsigned long scause)
{
	if (scause & CAUSE_IRQ_FLAG) {
		vcpu->stat.nested_exits_irq++;
		return;
	}

	switch (scause) {
	case EXC_SYSCALL:
	case EXC_SUPERVISOR_SYSCALL:
		vcpu->stat.nested_exits_ecall++;
		break;
	case EXC_INST_GUEST_PAGE_FAULT:
	case EXC_LOAD_GUEST_PAGE_FAULT:
	case EXC_STORE_GUEST_PAGE_FAULT:
		vcpu->stat.nested_exits_gstage++;
		break;
	case EXC_INST_ILLEGAL:
	case EXC_VIRTUAL_INST_FAULT:
		vcpu->stat.nested_exits_insn++;
		break;
	default:
		vcpu->stat.nested_exits_other++;
		break;
	}
}

/**
 * kvm_riscv_nested_exit_to_l1 - take a trap from L2 into HS-mode of L1
 * @vcpu: loaded vCPU that runs L2
 * @trap: what to report; scause may be an interrupt
 * @gva: whether stval is a guest virtual address
 *
 * Implements trap entry from V = 1 into HS-mode (privileged specification
 * 15.6.2 and tables 34 to 36).
 *
 * Context: preemption or interrupts may be disabled.
 */
void kvm_riscv_nested_exit_to_l1(struct kvm_vcpu *vcpu, struct kvm_cpu_trap *trap,
				 bool gva)
{
	struct kvm_vcpu_nested_csr *csr = &vcpu->arch.nested.csr;
	struct kvm_cpu_context *ctx = &vcpu->arch.guest_context;
	struct kvm_vcpu_csr *l1 = &vcpu->arch.guest_csr;
	bool from_s = ctx->sstatus & SR_SPP;

	trace_kvm_nested_exit(vcpu->vcpu_id, trap, gva);
	count_exit(vcpu, trap->scause);

	preempt_disable();

	l1->vsstatus &= ~(SR_SPP | SR_SPIE | SR_SPELP);
	l1->vsstatus |= ctx->sstatus & SR_SPELP;
	if (from_s)
		l1->vsstatus |= SR_SPP;
	if (l1->vsstatus & SR_SIE)
		l1->vsstatus |= SR_SPIE;
	l1->vsstatus &= ~SR_SIE;

	l1->vscause = trap->scause;
	l1->vsepc = trap->sepc;
	l1->vstval = trap->stval;
	csr->htval = trap->htval;
	csr->htinst = trap->htinst;

	csr->hstatus &= ~(HSTATUS_SPVP | HSTATUS_GVA);
	csr->hstatus |= HSTATUS_SPV;
	if (from_s)
		csr->hstatus |= HSTATUS_SPVP;
	if (gva)
		csr->hstatus |= HSTATUS_GVA;

	ctx->sepc = l1->vstvec & ~3UL;
	if ((l1->vstvec & 3) == 1 && trap->scause & CAUSE_IRQ_FLAG)
		ctx->sepc += 4 * (trap->scause & ~CAUSE_IRQ_FLAG);
	ctx->sstatus &= ~SR_SPELP;
	ctx->sstatus |= SR_SPP;

	switch_bank(vcpu, false);

	preempt_enable();
}

/**
 * kvm_riscv_nested_redirect - route a trap that L0 raises for the guest
 * @vcpu: loaded vCPU
 * @trap: the trap; an interrupt only while L1 runs
 *
 * While L2 runs, L1's hedeleg decides whether L1 or L2 gets it. While L1 runs,
 * it goes to L1 and has to leave hstatus, htval and htinst as a trap from V = 0
 * does.
 *
 * Return: true if the trap was taken by L1 from L2; false if it is to be taken
 * at the level that the hart runs, as without nested virtualization.
 */
bool kvm_riscv_nested_redirect(struct kvm_vcpu *vcpu, struct kvm_cpu_trap *trap)
{
	struct kvm_vcpu_nested_csr *csr = &vcpu->arch.nested.csr;
	bool gva = trap->scause < BITS_PER_LONG && (EXC_WITH_GVA & BIT(trap->scause));

	/* A hart need not say where a breakpoint is */
	if (trap->scause == EXC_BREAKPOINT && !trap->stval)
		gva = false;

	if (!kvm_riscv_nested_vcpu(vcpu))
		return false;

	if (vcpu->arch.nested.virt) {
		if (trap->scause < BITS_PER_LONG && csr->hedeleg & BIT(trap->scause))
			return false;
		kvm_riscv_nested_exit_to_l1(vcpu, trap, gva);
		return true;
	}

	csr->htval = trap->htval;
	csr->htinst = trap->htinst;
	csr->hstatus &= ~HSTATUS_GVA;
	if (csr->hstatus & HSTATUS_SPV) {
		csr->hstatus &= ~HSTATUS_SPV;
		kvm_riscv_nested_hstatus_changed(vcpu);
	}
	return false;
}

/* Hand a trap of L2 on as the hart reported it */
static int deliver(struct kvm_vcpu *vcpu, struct kvm_run *run,
		   struct kvm_cpu_trap *trap)
{
	if (trap->scause < BITS_PER_LONG &&
	    vcpu->arch.nested.csr.hedeleg & BIT(trap->scause))
		kvm_riscv_vcpu_trap_redirect(vcpu, trap);
	else
		kvm_riscv_nested_exit_to_l1(vcpu, trap, vcpu->arch.guest_context.hstatus &
					    HSTATUS_GVA);
	return 1;
}

static int l2_breakpoint(struct kvm_vcpu *vcpu, struct kvm_run *run,
			 struct kvm_cpu_trap *trap)
{
	if (!vcpu->guest_debug)
		return deliver(vcpu, run, trap);

	run->exit_reason = KVM_EXIT_DEBUG;
	return 0;
}

/* May L2 read this counter as far as L1 is concerned? */
static bool l1_allows_counter(struct kvm_vcpu *vcpu, unsigned int nr)
{
	if (!(vcpu->arch.nested.csr.hcounteren & BIT(nr)))
		return false;

	return vcpu->arch.guest_context.sstatus & SR_SPP ||
	       vcpu->arch.guest_csr.scounteren & BIT(nr);
}

/*
 * A virtual-instruction exception of L2. L0 traps more than L1 asked for; what
 * L1 did not ask for is emulated here, the rest is L1's.
 */
static int l2_virtual_insn(struct kvm_vcpu *vcpu, struct kvm_run *run,
			   struct kvm_cpu_trap *trap)
{
	struct kvm_vcpu_nested_csr *csr = &vcpu->arch.nested.csr;
	struct kvm_cpu_trap utrap = { 0 };
	unsigned long insn = trap->stval;

	/* stval may be zero instead of the instruction */
	if (!insn) {
		insn = kvm_riscv_vcpu_unpriv_read(vcpu, true, trap->sepc, &utrap);
		if (utrap.scause)
			return 1;
	}

	switch (insn) {
	case INSN_MATCH_WFI:
		/* Nothing for VU-mode, whatever L1 allows */
		if (!(vcpu->arch.guest_context.sstatus & SR_SPP))
			break;
		fallthrough;
	case INSN_MATCH_WRS:
		if (!(csr->hstatus & HSTATUS_VTW))
			return kvm_riscv_vcpu_virtual_insn(vcpu, run, trap);
		break;
	default:
		if ((insn & INSN_MASK_CSRRS) >= INSN_MATCH_CSRRW &&
		    (insn & INSN_OPCODE_MASK) >> INSN_OPCODE_SHIFT == INSN_OPCODE_SYSTEM &&
		    (insn >> SH_RS2) - CSR_CYCLE < NR_COUNTERS &&
		    l1_allows_counter(vcpu, (insn >> SH_RS2) - CSR_CYCLE))
			return kvm_riscv_vcpu_virtual_insn(vcpu, run, trap);
		break;
	}

	return deliver(vcpu, run, trap);
}

/*
 * Who handles an exception of L2. Without an entry it goes to L1, or to L2
 * itself if L1 delegates what L0 does not.
 */
static int (*const l2_exceptions[])(struct kvm_vcpu *vcpu, struct kvm_run *run,
				    struct kvm_cpu_trap *trap) = {
	[EXC_BREAKPOINT]		= l2_breakpoint,
	[EXC_INST_GUEST_PAGE_FAULT]	= kvm_riscv_nested_gstage_fault,
	[EXC_LOAD_GUEST_PAGE_FAULT]	= kvm_riscv_nested_gstage_fault,
	[EXC_STORE_GUEST_PAGE_FAULT]	= kvm_riscv_nested_gstage_fault,
	[EXC_VIRTUAL_INST_FAULT]	= l2_virtual_insn,
};

/**
 * kvm_riscv_nested_exit - handle an exception of a vCPU with the H extension
 * @vcpu: loaded vCPU
 * @run: its kvm_run
 * @trap: what the hart reported
 * @ret: where the result goes, as of kvm_riscv_vcpu_exit()
 *
 * Context: process context, srcu held.
 * Return: false if the exception is one of L1 that needs no special treatment.
 */
bool kvm_riscv_nested_exit(struct kvm_vcpu *vcpu, struct kvm_run *run,
			   struct kvm_cpu_trap *trap, int *ret)
{
	unsigned long cause = trap->scause;

	if (vcpu->arch.nested.virt) {
		if (cause < ARRAY_SIZE(l2_exceptions) && l2_exceptions[cause])
			*ret = l2_exceptions[cause](vcpu, run, trap);
		else
			*ret = deliver(vcpu, run, trap);
		return true;
	}

	/* Delegated normally, but not while L1 has hstatus.SPV set */
	if (vcpu->arch.nested.csr.hstatus & HSTATUS_SPV &&
	    cause < BITS_PER_LONG && vcpu->arch.cfg.hedeleg & BIT(cause)) {
		trap->htval = 0;
		trap->htinst = 0;
		kvm_riscv_vcpu_trap_redirect(vcpu, trap);
		*ret = 1;
		return true;
	}

	return false;
}

/**
 * kvm_riscv_nested_sync_interrupts - read back what L2 changed
 * @vcpu: vCPU that just left L2
 *
 * L2 can write its sie, and SSIP of its sip. Both are windows on CSRs of L1.
 *
 * Context: right after the exit, interrupts disabled.
 */
void kvm_riscv_nested_sync_interrupts(struct kvm_vcpu *vcpu)
{
	struct kvm_vcpu_nested_csr *csr = &vcpu->arch.nested.csr;
	unsigned long alias = csr->hideleg & NESTED_VS_IRQS;
	unsigned long soft = csr->hideleg & BIT(IRQ_VS_SOFT);

	vcpu->arch.l2_csr.vsie = csr_read(CSR_VSIE);
	csr->hie = (csr->hie & ~alias) |
		   ((vcpu->arch.l2_csr.vsie << VSIP_TO_HVIP_SHIFT) & alias);

	vcpu->arch.l2_csr.hvip = csr_read(CSR_HVIP);
	csr->hvip = (csr->hvip & ~soft) | (vcpu->arch.l2_csr.hvip & soft);
}

/*
 * Interrupts of VS level that L1 has enabled and keeps for itself, pending or not.
 * The hart cannot deliver these: its own of that level are those of L1's S level.
 */
static unsigned long undelegated(struct kvm_vcpu *vcpu)
{
	struct kvm_vcpu_nested_csr *csr = &vcpu->arch.nested.csr;

	return csr->hie & ~csr->hideleg & NESTED_VS_IRQS;
}

/* Interrupts pending and enabled for HS-mode of L1 while L2 runs */
static unsigned long l1_interrupts(struct kvm_vcpu *vcpu)
{
	struct kvm_vcpu_csr *l1 = &vcpu->arch.guest_csr;
	unsigned long pending = hvip_to_vsip(l1->hvip);

	if (vcpu->arch.cfg.henvcfg & ENVCFG_STCE &&
	    kvm_riscv_vcpu_timer_cycles(vcpu) >= vcpu->arch.timer.next_cycles)
		pending |= BIT(IRQ_S_TIMER);

	if (kvm_riscv_aia_available() && kvm_riscv_aia_initialized(vcpu->kvm) &&
	    l1->vsie & BIT(IRQ_S_EXT) && kvm_riscv_vcpu_aia_imsic_has_interrupt(vcpu))
		pending |= BIT(IRQ_S_EXT);

	pending &= l1->vsie;

	return pending | (kvm_riscv_nested_hip(vcpu) & undelegated(vcpu));
}

/* Default order of priority (privileged specification 15.4.1 and AIA 6.1) */
static const u8 l1_interrupt_order[] = {
	IRQ_S_EXT, IRQ_S_SOFT, IRQ_S_TIMER,
	IRQ_S_GEXT, IRQ_VS_EXT, IRQ_VS_SOFT, IRQ_VS_TIMER, IRQ_PMU_OVF,
};

static unsigned long first_interrupt(unsigned long pending)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(l1_interrupt_order) - 1; i++) {
		if (pending & BIT(l1_interrupt_order[i]))
			break;
	}

	return l1_interrupt_order[i];
}

/**
 * kvm_riscv_nested_pending - is there an interrupt that ends a WFI of L2?
 * @vcpu: vCPU, loaded or not
 *
 * WFI resumes for an interrupt that is locally enabled at any privilege level
 * (privileged specification 3.3.3). One that L1 asserts by hvictl always is, for L2.
 */
bool kvm_riscv_nested_pending(struct kvm_vcpu *vcpu)
{
	struct kvm_vcpu_nested_csr *csr = &vcpu->arch.nested.csr;

	if (vcpu->arch.nested.virt && csr->hvictl & HVICTL_VTI &&
	    (csr->hvictl & HVICTL_IID) >> HVICTL_IID_SHIFT != IRQ_S_EXT)
		return true;

	return kvm_riscv_nested_hip(vcpu) & csr->hie;
}

/* Cycles until the timer of L2 expires that is in vstimecmp of L1 */
static u64 l2_timer_left(struct kvm_vcpu *vcpu, u64 l1_now)
{
	struct kvm_vcpu_nested_csr *csr = &vcpu->arch.nested.csr;
	u64 now = l1_now + csr->htimedelta;

	return csr->vstimecmp > now ? csr->vstimecmp - now : 0;
}

/**
 * kvm_riscv_nested_timer_wakeup - when the timer of L2 ends a WFI
 * @vcpu: vCPU that blocks
 * @cycles: when it has to wake up anyway, in the time of L1
 *
 * Return: the earlier of both.
 */
u64 kvm_riscv_nested_timer_wakeup(struct kvm_vcpu *vcpu, u64 cycles)
{
	struct kvm_vcpu_nested_csr *csr = &vcpu->arch.nested.csr;
	u64 now, left;

	if (!(csr->henvcfg & ENVCFG_STCE) || !(csr->hie & BIT(IRQ_VS_TIMER)))
		return cycles;

	now = kvm_riscv_vcpu_timer_cycles(vcpu);
	left = l2_timer_left(vcpu, now);

	return left < U64_MAX - now ? min(cycles, now + left) : cycles;
}

/*
 * Make the vCPU leave the guest after @left cycles, or when the first timer
 * expires that matters but is not in vstimecmp of the hart: L1's while L2 runs,
 * and L2's if L1 wants to take its interrupt itself.
 */
static void arm_timer(struct kvm_vcpu *vcpu, u64 left)
{
	struct kvm_vcpu_nested *n = &vcpu->arch.nested;
	u64 now = kvm_riscv_vcpu_timer_cycles(vcpu);
	u64 l1 = vcpu->arch.timer.next_cycles;

	if (n->virt && vcpu->arch.cfg.henvcfg & ENVCFG_STCE &&
	    vcpu->arch.guest_csr.vsie & BIT(IRQ_S_TIMER))
		left = min(left, l1 > now ? l1 - now : 0);

	/* Not again if it already expired and L1 does not accept it */
	if (n->csr.henvcfg & ENVCFG_STCE && undelegated(vcpu) & BIT(IRQ_VS_TIMER) &&
	    l2_timer_left(vcpu, now))
		left = min(left, l2_timer_left(vcpu, now));

	if (left != U64_MAX)
		kvm_riscv_vcpu_timer_arm(vcpu, &n->l1_timer, &n->l1_timer_expiry,
					 now, left);
}

/*
 * Interrupts of VS level that L1 keeps for itself, while it runs. If it does not
 * accept them now, L0 has to ask again: nothing traps when L1 sets sstatus.SIE.
 */
static void flush_undelegated(struct kvm_vcpu *vcpu)
{
	struct kvm_cpu_context *ctx = &vcpu->arch.guest_context;
	struct kvm_cpu_trap trap = { .sepc = ctx->sepc };
	unsigned long pending, stvec, irq;

	if (likely(!undelegated(vcpu)))
		return;

	pending = kvm_riscv_nested_hip(vcpu) & undelegated(vcpu);
	if (!pending) {
		arm_timer(vcpu, U64_MAX);
		return;
	}

	/* Those of S level, which the hart delivers, come first */
	if ((!(ctx->sstatus & SR_SPP) || csr_read(CSR_VSSTATUS) & SR_SIE) &&
	    !((csr_read(CSR_VSIP) | hvip_to_vsip(vcpu->arch.guest_csr.hvip)) &
	      csr_read(CSR_VSIE))) {
		irq = first_interrupt(pending);
		trap.scause = CAUSE_IRQ_FLAG | irq;
		kvm_riscv_vcpu_trap_redirect(vcpu, &trap);
		stvec = csr_read(CSR_VSTVEC);
		if ((stvec & 3) == 1)
			ctx->sepc = (stvec & ~3UL) + 4 * irq;
	}

	arm_timer(vcpu, riscv_timebase / POLL_HZ);
}

/**
 * kvm_riscv_nested_flush_interrupts - take L1's interrupts, and L2's to the hart
 * @vcpu: vCPU with the H extension that is about to enter the guest
 *
 * While V = 1 an interrupt for HS-mode is taken whatever sstatus.SIE says. While
 * V = 0 the hart delivers all but those of VS level that L1 does not delegate.
 *
 * Context: last step before the entry, interrupts disabled and vcpu->mode set, so
 * that a timer which expires from here on ends the guest.
 */
void kvm_riscv_nested_flush_interrupts(struct kvm_vcpu *vcpu)
{
	struct kvm_cpu_trap trap = { .sepc = vcpu->arch.guest_context.sepc };
	unsigned long pending;

	if (!vcpu->arch.nested.virt) {
		flush_undelegated(vcpu);
		return;
	}

	pending = l1_interrupts(vcpu);
	if (pending) {
		trap.scause = CAUSE_IRQ_FLAG | first_interrupt(pending);
		kvm_riscv_nested_exit_to_l1(vcpu, &trap, false);
		flush_undelegated(vcpu);
		return;
	}

	vcpu->arch.l2_csr.hvip = l2_hvip(vcpu);
	if (kvm_riscv_aia_available() && kvm_riscv_aia_initialized(vcpu->kvm) &&
	    vcpu->arch.guest_csr.vsie & BIT(IRQ_S_EXT))
		kvm_riscv_vcpu_aia_imsic_arm(vcpu);
	arm_timer(vcpu, U64_MAX);
}

/**
 * kvm_riscv_nested_prepare - make sure that L2 can be entered
 * @vcpu: loaded vCPU that runs L2
 *
 * L1 set its hgatp long ago, but userspace may have restored the vCPU in L2.
 *
 * Context: top of the run loop, may sleep.
 * Return: 0, or -ENOMEM.
 */
int kvm_riscv_nested_prepare(struct kvm_vcpu *vcpu)
{
	struct kvm_vcpu_nested *n = &vcpu->arch.nested;
	struct kvm_nested_gstage *old = n->gstage;
	int ret;

	ret = kvm_riscv_nested_gstage_get(vcpu);
	if (ret)
		return ret;
	if (n->gstage != old)
		kvm_make_request(KVM_REQ_UPDATE_HGATP, vcpu);

	return 0;
}

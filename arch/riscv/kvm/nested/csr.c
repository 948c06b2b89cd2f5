// SPDX-License-Identifier: GPL-2.0-only
/*
 * Nested virtualization: the hypervisor and virtual-supervisor CSRs of L1.
 *
 * One table says for every CSR where its value lives, which bits software can
 * write, which ones are constant, and what else a read or write does. Every
 * way to reach a CSR uses the same rows: a trapped instruction of L1, ONE_REG
 * of userspace, and shared memory of an SBI call.
 */

#include <linux/bsearch.h>
#include <linux/kvm_host.h>
#include <asm/kvm_gstage.h>
#include <asm/kvm_isa.h>
#include <asm/kvm_vcpu_nested.h>
#include "nested.h"

/* Not among those that KVM ever delegates itself */
#define EXC_HARDWARE_ERROR	19

/* Exceptions that hedeleg can delegate; the others are read-only zero */
#define HEDELEG_WRITABLE	(BIT(EXC_INST_MISALIGNED)	| \
				 BIT(EXC_INST_ACCESS)		| \
				 BIT(EXC_INST_ILLEGAL)		| \
				 BIT(EXC_BREAKPOINT)		| \
				 BIT(EXC_LOAD_MISALIGNED)	| \
				 BIT(EXC_LOAD_ACCESS)		| \
				 BIT(EXC_STORE_MISALIGNED)	| \
				 BIT(EXC_STORE_ACCESS)		| \
				 BIT(EXC_SYSCALL)		| \
				 BIT(EXC_INST_PAGE_FAULT)	| \
				 BIT(EXC_LOAD_PAGE_FAULT)	| \
				 BIT(EXC_STORE_PAGE_FAULT)	| \
				 BIT(EXC_SOFTWARE_CHECK)	| \
				 BIT(EXC_HARDWARE_ERROR))

#define HSTATUS_WRITABLE	(HSTATUS_VTSR | HSTATUS_VTW | HSTATUS_VTVM | \
				 HSTATUS_HU | HSTATUS_SPVP | HSTATUS_SPV | \
				 HSTATUS_GVA)

#define VSSTATUS_WRITABLE	(SR_SIE | SR_SPIE | SR_SPP | SR_SUM | SR_MXR)

/* Priorities of interrupts 1, 5, 13, 14 and 15; the rest is read-only zero */
#define HVIPRIO1_WRITABLE	0xffffff00ff00ff00UL
#define VSISELECT_WRITABLE	GENMASK(11, 0)

/* What a CSR needs so that L1 has it at all */
enum nested_csr_need {
	NEED_NOTHING,
	NEED_SSTC,
	NEED_SSAIA,
	NEED_SMSTATEEN,
};

/**
 * struct nested_csr - one row of the CSR table
 *
 * @num: CSR number
 * @need: extension of L1 that brings the CSR
 * @offset: offset of its storage in struct kvm_vcpu_arch, or 0 for none
 * @writable: bits that L1 can change
 * @constant: bits that read as one whatever is stored
 * @mask: if set, narrows @writable to what this vCPU is offered
 * @read: if set, computes the value instead of taking it from storage
 * @write: if set, stores @val, which has only writable bits. Returns true when
 *	   something that is merged into the hart's CSRs changed.
 */
struct nested_csr {
	u16 num;
	u8 need;
	u16 offset;
	unsigned long writable;
	unsigned long constant;
	unsigned long (*mask)(struct kvm_vcpu *vcpu);
	unsigned long (*read)(struct kvm_vcpu *vcpu);
	bool (*write)(struct kvm_vcpu *vcpu, unsigned long val);
};

/* hip: what L1 sees pending for VS level, delegated or not */
unsigned long kvm_riscv_nested_hip(struct kvm_vcpu *vcpu)
{
	struct kvm_vcpu_nested_csr *csr = &vcpu->arch.nested.csr;
	unsigned long hip = csr->hvip;
	u64 now;

	if (csr->henvcfg & ENVCFG_STCE) {
		now = kvm_riscv_vcpu_timer_cycles(vcpu) + csr->htimedelta;
		if (now >= csr->vstimecmp)
			hip |= BIT(IRQ_VS_TIMER);
	}

	return hip;
}

static unsigned long vsstatus_mask(struct kvm_vcpu *vcpu)
{
	unsigned long mask = VSSTATUS_WRITABLE;

	if (riscv_isa_extension_available(vcpu->arch.isa, F) ||
	    riscv_isa_extension_available(vcpu->arch.isa, D))
		mask |= SR_FS;
	if (riscv_isa_extension_available(vcpu->arch.isa, V))
		mask |= SR_VS;
	if (riscv_isa_extension_available(vcpu->arch.isa, ZICFILP))
		mask |= SR_SPELP;

	return mask;
}

static unsigned long vsstatus_read(struct kvm_vcpu *vcpu)
{
	unsigned long val = vcpu->arch.l2_csr.vsstatus & vsstatus_mask(vcpu);

	/* SD sums FS and VS up, XS is constant zero */
	if ((val & SR_FS) == SR_FS_DIRTY || (val & SR_VS) == SR_VS_DIRTY)
		val |= SR_SD;

	return val;
}

static unsigned long vsie_read(struct kvm_vcpu *vcpu)
{
	struct kvm_vcpu_nested_csr *csr = &vcpu->arch.nested.csr;

	return (csr->hie & csr->hideleg & NESTED_VS_IRQS) >> VSIP_TO_HVIP_SHIFT;
}

static bool vsie_write(struct kvm_vcpu *vcpu, unsigned long val)
{
	struct kvm_vcpu_nested_csr *csr = &vcpu->arch.nested.csr;
	unsigned long alias = csr->hideleg & NESTED_VS_IRQS;

	csr->hie = (csr->hie & ~alias) | ((val << VSIP_TO_HVIP_SHIFT) & alias);
	return false;
}

static unsigned long vsip_read(struct kvm_vcpu *vcpu)
{
	return (kvm_riscv_nested_hip(vcpu) & vcpu->arch.nested.csr.hideleg &
		NESTED_VS_IRQS) >> VSIP_TO_HVIP_SHIFT;
}

static bool vsip_write(struct kvm_vcpu *vcpu, unsigned long val)
{
	struct kvm_vcpu_nested_csr *csr = &vcpu->arch.nested.csr;
	unsigned long alias = csr->hideleg & BIT(IRQ_VS_SOFT);

	csr->hvip = (csr->hvip & ~alias) | ((val << VSIP_TO_HVIP_SHIFT) & alias);
	return false;
}

static bool hip_write(struct kvm_vcpu *vcpu, unsigned long val)
{
	struct kvm_vcpu_nested_csr *csr = &vcpu->arch.nested.csr;

	/* VSSIP is an alias of the one in hvip, all others are read-only */
	csr->hvip = (csr->hvip & ~BIT(IRQ_VS_SOFT)) | val;
	return false;
}

static bool vsatp_write(struct kvm_vcpu *vcpu, unsigned long val)
{
	unsigned long mode = val >> SATP_MODE_SHIFT;

	/* As for satp: an unsupported mode makes the whole write void */
	if (mode == 0 || (mode >= SATP_MODE_39 >> SATP_MODE_SHIFT &&
			  mode <= satp_mode >> SATP_MODE_SHIFT))
		vcpu->arch.l2_csr.vsatp = val;

	return false;
}

static unsigned long hedeleg_mask(struct kvm_vcpu *vcpu)
{
	if (riscv_isa_extension_available(vcpu->arch.isa, ZICFILP) ||
	    riscv_isa_extension_available(vcpu->arch.isa, ZICFISS))
		return ~0UL;

	return ~BIT(EXC_SOFTWARE_CHECK);
}

static bool hstatus_write(struct kvm_vcpu *vcpu, unsigned long val)
{
	vcpu->arch.nested.csr.hstatus = val;
	return true;
}

/*
 * The bits of henvcfg are for extensions that L1 itself has, and FIOM. What is
 * merged into the hart's henvcfg is narrowed by L0's own; this here is constant
 * from the time that userspace has chosen the extensions.
 */
static unsigned long henvcfg_mask(struct kvm_vcpu *vcpu)
{
	const unsigned long *isa = vcpu->arch.isa;
	unsigned long mask = ENVCFG_FIOM;

	if (riscv_isa_extension_available(isa, SSTC))
		mask |= ENVCFG_STCE;
	if (riscv_isa_extension_available(isa, SVPBMT))
		mask |= ENVCFG_PBMTE;
	if (riscv_isa_extension_available(isa, SVADU))
		mask |= ENVCFG_ADUE;
	if (riscv_isa_extension_available(isa, ZICBOM))
		mask |= ENVCFG_CBIE | ENVCFG_CBCFE;
	if (riscv_isa_extension_available(isa, ZICBOZ))
		mask |= ENVCFG_CBZE;
	if (riscv_isa_extension_available(isa, ZICFILP))
		mask |= ENVCFG_LPE;
	if (riscv_isa_extension_available(isa, ZICFISS))
		mask |= ENVCFG_SSE;

	return mask;
}

static bool henvcfg_write(struct kvm_vcpu *vcpu, unsigned long val)
{
	unsigned long *henvcfg = &vcpu->arch.nested.csr.henvcfg;

	/* Value 2 of CBIE is reserved and leaves the field as it is */
	if ((val & ENVCFG_CBIE) >> ENVCFG_CBIE_SHIFT == 2)
		val = (val & ~ENVCFG_CBIE) | (*henvcfg & ENVCFG_CBIE);

	*henvcfg = val;
	return false;
}

static bool hgatp_write(struct kvm_vcpu *vcpu, unsigned long val)
{
	unsigned long *hgatp = &vcpu->arch.nested.csr.hgatp;
	unsigned long levels = kvm_riscv_nested_hgatp_levels(val);

	/* Unlike vsatp only the mode itself stays when it is not supported */
	if (val >> HGATP_MODE_SHIFT && !levels)
		val = (val & ~(~0UL << HGATP_MODE_SHIFT)) |
		      (*hgatp & (~0UL << HGATP_MODE_SHIFT));

	*hgatp = val;
	return false;
}

static unsigned long hstateen0_mask(struct kvm_vcpu *vcpu)
{
	unsigned long mask = SMSTATEEN0_HSENVCFG | SMSTATEEN0_SSTATEEN0;

	if (riscv_isa_extension_available(vcpu->arch.isa, SSAIA))
		mask |= SMSTATEEN0_AIA_IMSIC | SMSTATEEN0_AIA | SMSTATEEN0_AIA_ISEL;

	return mask;
}

/*
 * vstopi: the highest-priority interrupt that is pending and enabled for VS
 * level, in the default order and without L1's own priorities (AIA 6.3.3).
 */
static unsigned long vstopi_read(struct kvm_vcpu *vcpu)
{
	static const u8 order[] = { IRQ_S_EXT, IRQ_S_SOFT, IRQ_S_TIMER };
	unsigned long hvictl = vcpu->arch.nested.csr.hvictl;
	unsigned long pending = vsip_read(vcpu) & vsie_read(vcpu);
	unsigned int i;

	if (hvictl & HVICTL_VTI) {
		unsigned long iid = (hvictl & HVICTL_IID) >> HVICTL_IID_SHIFT;

		return iid == IRQ_S_EXT ? 0 :
			iid << TOPI_IID_SHIFT | ((hvictl & HVICTL_IPRIOM) ?
						 (hvictl & HVICTL_IPRIO) : 1);
	}

	for (i = 0; i < ARRAY_SIZE(order); i++) {
		if (pending & BIT(order[i]))
			return (unsigned long)order[i] << TOPI_IID_SHIFT | 1;
	}

	return 0;
}

#define CSR_STORAGE(__field)	offsetof(struct kvm_vcpu_arch, __field)
#define NESTED(__field)		CSR_STORAGE(nested.csr.__field)
#define L2(__field)		CSR_STORAGE(l2_csr.__field)
#define L2_AIA(__field)		CSR_STORAGE(nested.vs_aia.__field)

/*
 * Sorted by number. A CSR that is not here does not exist for L1. vsireg and
 * vstopei are left out on purpose: without guest interrupt files (hgeie and
 * hstatus.VGEIN are read-only zero) every access of HS-mode to them raises an
 * illegal-instruction exception (AIA 6.3.1 and 6.3.2). hvien is read-only zero,
 * which filters no interrupts.
 */
static const struct nested_csr nested_csrs[] = {
	{ .num = CSR_VSSTATUS, .offset = L2(vsstatus), .writable = ~0UL,
	  .constant = SR_UXL_64, .mask = vsstatus_mask, .read = vsstatus_read },
	{ .num = CSR_VSIE, .writable = NESTED_VS_IRQS >> VSIP_TO_HVIP_SHIFT,
	  .read = vsie_read, .write = vsie_write },
	{ .num = CSR_VSTVEC, .offset = L2(vstvec), .writable = ~2UL },
	{ .num = CSR_VSSCRATCH, .offset = L2(vsscratch), .writable = ~0UL },
	{ .num = CSR_VSEPC, .offset = L2(vsepc), .writable = ~1UL },
	{ .num = CSR_VSCAUSE, .offset = L2(vscause), .writable = ~0UL },
	{ .num = CSR_VSTVAL, .offset = L2(vstval), .writable = ~0UL },
	{ .num = CSR_VSIP, .writable = BIT(IRQ_S_SOFT),
	  .read = vsip_read, .write = vsip_write },
	{ .num = CSR_VSTIMECMP, .need = NEED_SSTC, .offset = NESTED(vstimecmp),
	  .writable = ~0UL },
	{ .num = CSR_VSISELECT, .need = NEED_SSAIA, .offset = L2_AIA(vsiselect),
	  .writable = VSISELECT_WRITABLE },
	{ .num = CSR_VSATP, .offset = L2(vsatp), .writable = ~0UL,
	  .write = vsatp_write },
	{ .num = CSR_HSTATUS, .offset = NESTED(hstatus),
	  .writable = HSTATUS_WRITABLE, .constant = 2UL << HSTATUS_VSXL_SHIFT,
	  .write = hstatus_write },
	{ .num = CSR_HEDELEG, .offset = NESTED(hedeleg),
	  .writable = HEDELEG_WRITABLE, .mask = hedeleg_mask },
	{ .num = CSR_HIDELEG, .offset = NESTED(hideleg),
	  .writable = NESTED_VS_IRQS },
	{ .num = CSR_HIE, .offset = NESTED(hie),
	  .writable = NESTED_VS_IRQS | BIT(IRQ_S_GEXT) },
	{ .num = CSR_HTIMEDELTA, .offset = NESTED(htimedelta), .writable = ~0UL },
	{ .num = CSR_HCOUNTEREN, .offset = NESTED(hcounteren),
	  .writable = GENMASK(31, 0) },
	{ .num = CSR_HGEIE },
	{ .num = CSR_HVIEN, .need = NEED_SSAIA },
	{ .num = CSR_HVICTL, .need = NEED_SSAIA, .offset = NESTED(hvictl),
	  .writable = HVICTL_VTI | HVICTL_IID | HVICTL_DPR | HVICTL_IPRIOM |
		      HVICTL_IPRIO },
	{ .num = CSR_HENVCFG, .offset = NESTED(henvcfg), .writable = ~0UL,
	  .mask = henvcfg_mask, .write = henvcfg_write },
	{ .num = CSR_HSTATEEN0, .need = NEED_SMSTATEEN,
	  .offset = NESTED(hstateen0), .writable = ~0UL, .mask = hstateen0_mask },
	{ .num = CSR_HSTATEEN0 + 1, .need = NEED_SMSTATEEN },
	{ .num = CSR_HSTATEEN0 + 2, .need = NEED_SMSTATEEN },
	{ .num = CSR_HSTATEEN0 + 3, .need = NEED_SMSTATEEN },
	{ .num = CSR_HTVAL, .offset = NESTED(htval), .writable = ~0UL },
	{ .num = CSR_HIP, .writable = BIT(IRQ_VS_SOFT),
	  .read = kvm_riscv_nested_hip, .write = hip_write },
	{ .num = CSR_HVIP, .offset = NESTED(hvip), .writable = NESTED_VS_IRQS },
	{ .num = CSR_HVIPRIO1, .need = NEED_SSAIA, .offset = L2_AIA(hviprio1),
	  .writable = HVIPRIO1_WRITABLE },
	{ .num = CSR_HVIPRIO2, .need = NEED_SSAIA, .offset = L2_AIA(hviprio2),
	  .writable = ~0UL },
	{ .num = CSR_HTINST, .offset = NESTED(htinst), .writable = ~0UL },
	{ .num = CSR_HGATP, .offset = NESTED(hgatp),
	  .writable = ~0UL & ~(GENMASK(59, 58) | GENMASK(1, 0)),
	  .write = hgatp_write },
	{ .num = CSR_HGEIP },
	{ .num = CSR_VSTOPI, .need = NEED_SSAIA, .read = vstopi_read },
};

static int row_cmp(const void *key, const void *elt)
{
	return (int)*(const unsigned int *)key -
	       (int)((const struct nested_csr *)elt)->num;
}

static const struct nested_csr *row_find(struct kvm_vcpu *vcpu, unsigned int num)
{
	const struct nested_csr *row;

	row = bsearch(&num, nested_csrs, ARRAY_SIZE(nested_csrs),
		      sizeof(nested_csrs[0]), row_cmp);
	if (!row)
		return NULL;

	switch (row->need) {
	case NEED_SSTC:
		return riscv_isa_extension_available(vcpu->arch.isa, SSTC) ? row : NULL;
	case NEED_SSAIA:
		return riscv_isa_extension_available(vcpu->arch.isa, SSAIA) ? row : NULL;
	case NEED_SMSTATEEN:
		return riscv_isa_extension_available(vcpu->arch.isa, SMSTATEEN) ? row : NULL;
	default:
		return row;
	}
}

static unsigned long row_writable(struct kvm_vcpu *vcpu, const struct nested_csr *row)
{
	return row->mask ? row->writable & row->mask(vcpu) : row->writable;
}

static unsigned long *row_storage(struct kvm_vcpu *vcpu, const struct nested_csr *row)
{
	return (void *)&vcpu->arch + row->offset;
}

static unsigned long row_get(struct kvm_vcpu *vcpu, const struct nested_csr *row)
{
	unsigned long val = 0;

	if (row->read)
		val = row->read(vcpu);
	else if (row->offset)
		val = *row_storage(vcpu, row);

	return val | row->constant;
}

static bool row_set(struct kvm_vcpu *vcpu, const struct nested_csr *row,
		    unsigned long val)
{
	val &= row_writable(vcpu, row);

	if (row->write)
		return row->write(vcpu, val);
	if (row->offset)
		*row_storage(vcpu, row) = val;

	return false;
}

/**
 * kvm_riscv_nested_csr_read - read a CSR of the H extension
 * @vcpu: vCPU with the H extension
 * @num: CSR number
 * @val: where the value goes
 *
 * Context: any; vCPU is loaded or under its mutex. While L2 runs, what is on the
 * hart must have been saved before.
 * Return: 0, or -ENOENT if L1 has no such CSR.
 */
int kvm_riscv_nested_csr_read(struct kvm_vcpu *vcpu, unsigned int num,
			      unsigned long *val)
{
	const struct nested_csr *row = row_find(vcpu, num);

	if (!row)
		return -ENOENT;

	*val = row_get(vcpu, row);
	return 0;
}

/**
 * kvm_riscv_nested_csr_write - write a CSR of the H extension
 * @vcpu: vCPU with the H extension
 * @num: CSR number
 * @val: value; bits that L1 cannot write are ignored
 *
 * Does not touch the hart: the caller makes the change effective.
 *
 * Context: as kvm_riscv_nested_csr_read().
 * Return: 0, or -ENOENT if L1 has no such CSR.
 */
int kvm_riscv_nested_csr_write(struct kvm_vcpu *vcpu, unsigned int num,
			       unsigned long val)
{
	const struct nested_csr *row = row_find(vcpu, num);

	if (!row)
		return -ENOENT;

	row_set(vcpu, row, val);
	return 0;
}

/**
 * kvm_riscv_nested_csr_rmw - emulate a CSR instruction of L1
 * @vcpu: vCPU that trapped
 * @num: CSR number
 * @val: old value, for the destination register
 * @new_val: value of the bits in @wr_mask
 * @wr_mask: bits to be written; 0 means that the instruction does not write
 *
 * Only HS-mode has these CSRs (privileged specification 15.2). Accesses of L2
 * are no business of this function, L1 gets them as virtual-instruction
 * exceptions.
 *
 * Return: enum kvm_insn_return
 */
int kvm_riscv_nested_csr_rmw(struct kvm_vcpu *vcpu, unsigned int num,
			     unsigned long *val, unsigned long new_val,
			     unsigned long wr_mask)
{
	const struct nested_csr *row;

	if (!kvm_riscv_nested_vcpu(vcpu) ||
	    !(vcpu->arch.guest_context.sstatus & SR_SPP))
		return KVM_INSN_ILLEGAL_TRAP;

	row = row_find(vcpu, num);
	if (!row)
		return KVM_INSN_ILLEGAL_TRAP;

	*val = row_get(vcpu, row);
	if (wr_mask) {
		/* The top bits of the number make a CSR read-only */
		if ((num & 0xc00) == 0xc00)
			return KVM_INSN_ILLEGAL_TRAP;

		if (row_set(vcpu, row, (*val & ~wr_mask) | (new_val & wr_mask)))
			kvm_riscv_nested_hstatus_changed(vcpu);
	}

	return KVM_INSN_CONTINUE_NEXT_SEPC;
}

/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Nested virtualization: interface between KVM and arch/riscv/kvm/nested.
 *
 * Everything here that the run loop calls costs a vCPU without the H extension
 * one patched-out branch.
 */

#ifndef __RISCV_KVM_VCPU_NESTED_H
#define __RISCV_KVM_VCPU_NESTED_H

#include <linux/cpufeature.h>
#include <linux/jump_label.h>
#include <linux/kvm_host.h>
#include <asm/csr.h>
#include <asm/kvm_vmid.h>
#include <asm/sbi.h>

/* Interrupts of VS level, numbered as in hie, hip, hvip and hideleg */
#define NESTED_VS_IRQS	(BIT(IRQ_VS_SOFT) | BIT(IRQ_VS_TIMER) | BIT(IRQ_VS_EXT))

/* sstatus.MXR also acts on L2's translations while V=1 */
#define SR_MXR		_AC(0x00080000, UL)

DECLARE_STATIC_KEY_FALSE(kvm_riscv_nested_enabled);

/*
 * Is nested virtualization offered by this host (module parameter and all)?
 *
 * Never on 32-bit hosts. What depends on it is not compiled there, so that only
 * what is called without asking needs an empty replacement below.
 */
static __always_inline bool kvm_riscv_nested_available(void)
{
	return IS_ENABLED(CONFIG_64BIT) &&
	       static_branch_unlikely(&kvm_riscv_nested_enabled);
}

/* Does this vCPU have the H extension? Settled when it runs the first time. */
static __always_inline bool kvm_riscv_nested_vcpu(const struct kvm_vcpu *vcpu)
{
	return kvm_riscv_nested_available() &&
	       riscv_isa_extension_available(vcpu->arch.isa, H);
}

/* Is L2 what the vCPU runs? */
static __always_inline bool kvm_riscv_nested_virt(const struct kvm_vcpu *vcpu)
{
	return kvm_riscv_nested_available() && vcpu->arch.nested.virt;
}

/* The vs* CSRs that are on the hart while the vCPU is loaded */
static __always_inline struct kvm_vcpu_csr *kvm_riscv_vcpu_hw_csr(struct kvm_vcpu *vcpu)
{
	return kvm_riscv_nested_virt(vcpu) ? &vcpu->arch.l2_csr : &vcpu->arch.guest_csr;
}

/* The same for the CSRs of AIA */
static inline struct kvm_vcpu_aia_csr *kvm_riscv_vcpu_hw_aia_csr(struct kvm_vcpu *vcpu)
{
	return kvm_riscv_nested_virt(vcpu) ? &vcpu->arch.nested.vs_aia :
					     &vcpu->arch.aia_context.guest_csr;
}

/* The VMID under which the vCPU's translations are on the hart */
static inline struct kvm_vmid *kvm_riscv_vcpu_hw_vmid(struct kvm_vcpu *vcpu)
{
	if (kvm_riscv_nested_virt(vcpu) && vcpu->arch.nested.gstage)
		return &vcpu->arch.nested.gstage->vmid;
	return &vcpu->kvm->arch.vmid;
}

/* csr.c: the CSR table */
int kvm_riscv_nested_csr_read(struct kvm_vcpu *vcpu, unsigned int num,
			      unsigned long *val);
int kvm_riscv_nested_csr_write(struct kvm_vcpu *vcpu, unsigned int num,
			       unsigned long val);

/* transition.c: between L1 and L2 */
void kvm_riscv_nested_config(struct kvm_vcpu *vcpu, struct kvm_vcpu_config *cfg,
			     unsigned long *hcounteren);
void kvm_riscv_nested_load(struct kvm_vcpu *vcpu);
bool kvm_riscv_nested_exit(struct kvm_vcpu *vcpu, struct kvm_run *run,
			   struct kvm_cpu_trap *trap, int *ret);
void kvm_riscv_nested_sync_interrupts(struct kvm_vcpu *vcpu);
void kvm_riscv_nested_flush_interrupts(struct kvm_vcpu *vcpu);
void kvm_riscv_nested_hstatus_changed(struct kvm_vcpu *vcpu);
bool kvm_riscv_nested_pending(struct kvm_vcpu *vcpu);
u64 kvm_riscv_nested_timer_wakeup(struct kvm_vcpu *vcpu, u64 cycles);
int kvm_riscv_nested_prepare(struct kvm_vcpu *vcpu);

/* shadow.c: shadow G-stages */
void kvm_riscv_nested_mmu_zap(struct kvm *kvm);
void kvm_riscv_nested_hfence_gvma(struct kvm *kvm, unsigned long vmid,
				  gpa_t gpa, gpa_t size);
void kvm_riscv_nested_hfence_vvma(struct kvm *kvm, unsigned long vmid,
				  void (*fn)(struct kvm *kvm, unsigned long vmid, void *data),
				  void *data);
void kvm_riscv_nested_update_hgatp(struct kvm_vcpu *vcpu);

#ifdef CONFIG_64BIT

/* nested.c: life cycle */
void kvm_riscv_nested_setup(void);
void kvm_riscv_nested_vcpu_init(struct kvm_vcpu *vcpu);
void kvm_riscv_nested_vcpu_reset(struct kvm_vcpu *vcpu);
void kvm_riscv_nested_vcpu_deinit(struct kvm_vcpu *vcpu);

/* csr.c: the CSR table */
int kvm_riscv_nested_csr_rmw(struct kvm_vcpu *vcpu, unsigned int num,
			     unsigned long *val, unsigned long new_val,
			     unsigned long wr_mask);

/* onereg.c: interface to userspace */
int kvm_riscv_nested_get_one_reg(struct kvm_vcpu *vcpu, unsigned long reg_num,
				 unsigned long *val);
int kvm_riscv_nested_set_one_reg(struct kvm_vcpu *vcpu, unsigned long reg_num,
				 unsigned long val);
int kvm_riscv_nested_reg_indices(const struct kvm_vcpu *vcpu, u64 __user *uindices);

/* insn.c: instructions of HS-mode */
int kvm_riscv_nested_sret(struct kvm_vcpu *vcpu, struct kvm_run *run, ulong insn);
int kvm_riscv_nested_hfence_gvma_insn(struct kvm_vcpu *vcpu, struct kvm_run *run,
				      ulong insn);
int kvm_riscv_nested_hfence_vvma_insn(struct kvm_vcpu *vcpu, struct kvm_run *run,
				      ulong insn);
int kvm_riscv_nested_hlsv_insn(struct kvm_vcpu *vcpu, struct kvm_run *run, ulong insn);

/* rfence.c: remote fences */
void kvm_riscv_nested_rfence(struct kvm_vcpu *vcpu,
			     struct kvm_vcpu_sbi_return *retdata);

/* transition.c: between L1 and L2 */
bool kvm_riscv_nested_redirect(struct kvm_vcpu *vcpu, struct kvm_cpu_trap *trap);

/* shadow.c: shadow G-stages */
void kvm_riscv_nested_mmu_init(struct kvm *kvm);
void kvm_riscv_nested_mmu_destroy(struct kvm *kvm);

#else /* !CONFIG_64BIT */

static inline void kvm_riscv_nested_setup(void) { }
static inline void kvm_riscv_nested_vcpu_init(struct kvm_vcpu *vcpu) { }
static inline void kvm_riscv_nested_vcpu_reset(struct kvm_vcpu *vcpu) { }
static inline void kvm_riscv_nested_vcpu_deinit(struct kvm_vcpu *vcpu) { }
static inline void kvm_riscv_nested_mmu_init(struct kvm *kvm) { }
static inline void kvm_riscv_nested_mmu_destroy(struct kvm *kvm) { }

static inline int kvm_riscv_nested_get_one_reg(struct kvm_vcpu *vcpu,
					       unsigned long reg_num,
					       unsigned long *val)
{
	return -ENOENT;
}

static inline int kvm_riscv_nested_set_one_reg(struct kvm_vcpu *vcpu,
					       unsigned long reg_num,
					       unsigned long val)
{
	return -ENOENT;
}

static inline int kvm_riscv_nested_reg_indices(const struct kvm_vcpu *vcpu,
					       u64 __user *uindices)
{
	return 0;
}

static inline void kvm_riscv_nested_rfence(struct kvm_vcpu *vcpu,
					   struct kvm_vcpu_sbi_return *retdata)
{
	retdata->err_val = SBI_ERR_NOT_SUPPORTED;
}

static inline bool kvm_riscv_nested_redirect(struct kvm_vcpu *vcpu,
					     struct kvm_cpu_trap *trap)
{
	return false;
}

#endif /* CONFIG_64BIT */

/*
 * While L2 runs, sstatus.FS and sstatus.VS of the hart stand for those of L1:
 * if L1 has one off, L2's use traps; if L2 makes one dirty, L1 has to see that.
 * L0's own view of them, which says whether it has to save registers, is kept
 * aside. Where that is Off the vCPU does not have the registers, whatever L1
 * writes to its FS or VS: those on the hart are somebody else's. MXR of L1 acts
 * on both stages of L2's translation. The guest interrupt file of hstatus.VGEIN
 * is L1's, too; L2 has none.
 */
static __always_inline void kvm_riscv_nested_enter_hart(struct kvm_vcpu *vcpu)
{
	unsigned long l1 = vcpu->arch.guest_csr.vsstatus;
	unsigned long *sstatus = &vcpu->arch.guest_context.sstatus;
	unsigned long l0 = *sstatus;

	vcpu->arch.nested.host_fs_vs = l0 & SR_FS_VS;
	vcpu->arch.nested.vgein = vcpu->arch.guest_context.hstatus & HSTATUS_VGEIN;
	vcpu->arch.guest_context.hstatus &= ~HSTATUS_VGEIN;

	*sstatus &= ~(SR_FS_VS | SR_MXR);
	*sstatus |= l1 & SR_MXR;
	if (l0 & SR_FS && l1 & SR_FS)
		*sstatus |= SR_FS_CLEAN;
	if (l0 & SR_VS && l1 & SR_VS)
		*sstatus |= SR_VS_CLEAN;
}

static __always_inline void kvm_riscv_nested_exit_hart(struct kvm_vcpu *vcpu)
{
	unsigned long *l1 = &vcpu->arch.guest_csr.vsstatus;
	unsigned long *sstatus = &vcpu->arch.guest_context.sstatus;
	unsigned long dirty = 0;

	if ((*sstatus & SR_FS) == SR_FS_DIRTY)
		dirty |= SR_FS_DIRTY;
	if ((*sstatus & SR_VS) == SR_VS_DIRTY)
		dirty |= SR_VS_DIRTY;

	vcpu->arch.guest_context.hstatus |= vcpu->arch.nested.vgein;

	*l1 |= dirty;
	*sstatus &= ~(SR_FS_VS | SR_MXR);
	*sstatus |= vcpu->arch.nested.host_fs_vs | dirty;
}

#endif

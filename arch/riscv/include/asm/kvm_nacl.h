/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * SBI nested acceleration (NACL): KVM as the guest of another hypervisor.
 *
 * Where KVM itself runs in a virtual machine, all its accesses to CSRs of the
 * H extension and all its hypervisor fences trap. A hypervisor below that
 * offers NACL takes them from memory that it shares with each hart instead, in
 * one trap, the one that enters the guest (SBI 3.0, chapter 15).
 *
 * The rules that the users of this header keep:
 *
 * - A CSR is accessed through hcsr_read() and hcsr_write() everywhere, or
 *   nowhere: the shared memory may hold a value that the CSR has yet to get.
 *   Not among them are hstatus (outside of the entry to the guest) and hgeie,
 *   hgeip, hie and hvien, which do something to the host at once or change by
 *   themselves; neither is vsireg, whose accesses have to be atomic.
 * - What hcsr_write() writes, and fences, take effect at the next entry to
 *   the guest on the same hart; in front of anything else that depends on
 *   them stands kvm_riscv_nacl_sync() or hcsr_write_sync().
 */
#ifndef __KVM_RISCV_NACL_H
#define __KVM_RISCV_NACL_H

#include <linux/build_bug.h>
#include <linux/compiler.h>
#include <linux/jump_label.h>
#include <linux/percpu.h>
#include <linux/preempt.h>
#include <linux/types.h>
#include <asm/csr.h>
#include <asm/sbi.h>

struct kvm_cpu_trap;
struct kvm_vcpu;
struct kvm_vcpu_arch;

/* One for each feature in use, by enum sbi_nacl_feature; all off on bare metal */
extern struct static_key_false kvm_riscv_nacl_keys[SBI_NACL_FEAT_MAX];
/* Any of them */
DECLARE_STATIC_KEY_FALSE(kvm_riscv_nacl_key);

#define kvm_riscv_nacl_has(feature)	\
	static_branch_unlikely(&kvm_riscv_nacl_keys[SBI_NACL_FEAT_##feature])
#define kvm_riscv_nacl_in_use()	static_branch_unlikely(&kvm_riscv_nacl_key)

/* This hart's CSRs in the shared memory, by hcsr_index() */
DECLARE_PER_CPU(unsigned long *, kvm_riscv_nacl_csrs);

/*
 * Where the shared memory has a CSR of the H extension: 1024 of the 4096 CSR
 * numbers, those with 2 in bits 9 and 8.
 */
#define hcsr_index(csr)						\
({								\
	BUILD_BUG_ON(((csr) & ~0xcff) != 0x200);		\
	(((csr) & 0xc00) >> 2) | ((csr) & 0xff);		\
})

/*
 * Inline, as a call makes leaf functions save registers, on bare metal as well.
 */
static __always_inline unsigned long kvm_riscv_nacl_csr_read(unsigned int index)
{
	unsigned long val;

	preempt_disable_notrace();
	val = READ_ONCE(raw_cpu_read(kvm_riscv_nacl_csrs)[index]);
	preempt_enable_notrace();
	return val;
}

/* For code that is built twice: SHARED is true where SYNC_CSR is in use. */
#define hcsr_read_from(shared, csr)				\
({								\
	unsigned long __hv;					\
	if (shared)						\
		__hv = kvm_riscv_nacl_csr_read(hcsr_index(csr));\
	else							\
		__hv = csr_read(csr);				\
	__hv;							\
})

#define hcsr_write_to(shared, csr, val)				\
do {								\
	unsigned long __hv = (unsigned long)(val);		\
	if (shared)						\
		kvm_riscv_nacl_csr_write(hcsr_index(csr), __hv);\
	else							\
		csr_write(csr, __hv);				\
} while (0)

/**
 * hcsr_read() - Read a CSR of the H extension
 * @csr: CSR number, a constant
 *
 * Context: Any, on the hart that has the value: preemption is off, or a vCPU
 *          is loaded that takes the value along.
 * Return: What was written last, or what the guest or the trap left there.
 */
#define hcsr_read(csr)	hcsr_read_from(kvm_riscv_nacl_has(SYNC_CSR), csr)

/**
 * hcsr_write() - Write a CSR of the H extension for the guest's next run
 * @csr: CSR number, a constant
 * @val: The new value
 *
 * Context: As hcsr_read().
 */
#define hcsr_write(csr, val)	\
	hcsr_write_to(kvm_riscv_nacl_has(SYNC_CSR), csr, val)

/**
 * hcsr_write_sync() - Write a CSR of the H extension for an access in the host
 * @csr: CSR number, a constant
 * @val: The new value, in force when this returns
 *
 * Context: As hcsr_read().
 */
#define hcsr_write_sync(csr, val)				\
do {								\
	hcsr_write(csr, val);					\
	if (kvm_riscv_nacl_has(SYNC_CSR))			\
		kvm_riscv_nacl_sync_csr(csr);			\
} while (0)

int kvm_riscv_nacl_init(void);
void kvm_riscv_nacl_exit(void);
int kvm_riscv_nacl_enable(void);
void kvm_riscv_nacl_disable(void);

void kvm_riscv_nacl_csr_write(unsigned int index, unsigned long val);
void kvm_riscv_nacl_sync_csr(unsigned long csr);
void kvm_riscv_nacl_sync(void);

bool kvm_riscv_nacl_hfence_all(enum sbi_nacl_hfence_type type,
			       unsigned long vmid, unsigned long asid);
bool kvm_riscv_nacl_hfence(enum sbi_nacl_hfence_type type,
			   unsigned long vmid, unsigned long asid,
			   u64 addr, u64 size, unsigned int order);

void kvm_riscv_nacl_enter_exit(struct kvm_vcpu *vcpu,
			       struct kvm_cpu_trap *trap);
long __kvm_riscv_nacl_switch_to(struct kvm_vcpu_arch *vcpu_arch,
				unsigned long *sret_gprs,
				unsigned long sbi_fid, unsigned long sbi_ext);

#endif

// SPDX-License-Identifier: GPL-2.0-only
/*
 * Nested virtualization: access to the shared memory of SBI NACL.
 *
 * The shared memory is a few pages of L1's, which L0 reads and writes on every
 * transition, also with interrupts disabled. It is reached by its addresses in
 * the kernel. These obey the same rules as the leaves of a shadow G-stage: they
 * are valid only while the VM's own G-stage maps the pages for writing, and
 * whoever takes that away makes them invalid under kvm->mmu_lock, before it
 * flushes TLBs and with that waits for all harts that may be using them.
 *
 * So the pages can be swapped or migrated, their memslot can be changed, and a
 * page that was write-protected to log its next write is logged when it is
 * mapped again.
 */

#include <linux/kvm_host.h>
#include <asm/kvm_gstage.h>
#include <asm/kvm_mmu.h>
#include <asm/kvm_vcpu_nested.h>
#include <asm/sbi.h>
#include "nested.h"

/* Have the VM's G-stage map a page of L1 for writing */
static int fault_in(struct kvm_vcpu *vcpu, gpa_t gpa)
{
	struct kvm_gstage_mapping map;
	struct kvm_memory_slot *slot;
	bool writable;
	hva_t hva;
	int ret;

	slot = kvm_vcpu_gfn_to_memslot(vcpu, gpa_to_gfn(gpa));
	hva = gfn_to_hva_memslot_prot(slot, gpa_to_gfn(gpa), &writable);
	if (kvm_is_error_hva(hva) || !writable)
		return -EFAULT;

	ret = kvm_riscv_mmu_map(vcpu, slot, gpa, hva, true, &map);
	return ret == -EEXIST ? 0 : ret;
}

/*
 * The kernel's address of a page of L1.
 *
 * Returns -EAGAIN if the G-stage does not map it for writing, -EFAULT if it is
 * no memory that the kernel has an address for.
 */
static int page_addr(struct kvm_gstage *gstage, gpa_t gpa, void **addr)
{
	unsigned long pfn;
	pte_t *ptep;
	u32 level;

	if (!kvm_riscv_gstage_get_leaf(gstage, gpa, &ptep, &level) ||
	    !(pte_val(ptep_get(ptep)) & _PAGE_WRITE))
		return -EAGAIN;

	pfn = pte_pfn(ptep_get(ptep)) +
	      (gpa_to_gfn(gpa) & (BIT(level * kvm_riscv_gstage_index_bits) - 1));
	if (!pfn_valid(pfn))
		return -EFAULT;

	*addr = page_address(pfn_to_page(pfn));
	return 0;
}

static int try_map(struct kvm_vcpu *vcpu)
{
	struct kvm_nested_shmem *shmem = &vcpu->arch.nested.shmem;
	struct kvm_gstage gstage;
	int i, ret = 0;

	kvm_riscv_gstage_init(&gstage, vcpu->kvm);

	/* The G-stage would take this for another address */
	if (shmem->gpa + SBI_NACL_SHMEM_SIZE - 1 >=
	    kvm_riscv_gstage_gpa_size(gstage.pgd_levels))
		return -EFAULT;

	read_lock(&vcpu->kvm->mmu_lock);
	for (i = 0; !ret && i < NESTED_SHMEM_PAGES; i++)
		ret = page_addr(&gstage, shmem->gpa + i * PAGE_SIZE, &shmem->page[i]);
	if (!ret) {
		WRITE_ONCE(vcpu->kvm->arch.nested_mmu.shmem_mapped, true);
		WRITE_ONCE(shmem->mapped, true);
	}
	read_unlock(&vcpu->kvm->mmu_lock);

	return ret;
}

/* Make the shared memory accessible */
static int shmem_map(struct kvm_vcpu *vcpu)
{
	struct kvm_nested_shmem *shmem = &vcpu->arch.nested.shmem;
	int i, ret, tries;

	for (tries = 0; ; tries++) {
		ret = try_map(vcpu);
		if (ret != -EAGAIN)
			return ret;

		/* Whoever keeps taking the pages away must not keep us here */
		if (tries > 1 && signal_pending(current))
			return -EINTR;
		cond_resched();

		for (i = 0; i < NESTED_SHMEM_PAGES; i++) {
			ret = fault_in(vcpu, shmem->gpa + i * PAGE_SIZE);
			if (ret)
				return ret;
		}
	}
}

/**
 * kvm_riscv_nested_shmem_begin - start to access the shared memory
 * @vcpu: loaded vCPU that has shared memory
 * @flags: where the interrupt state goes
 *
 * Context: process context, srcu held, may sleep. If it succeeds, interrupts are
 * disabled until kvm_riscv_nested_shmem_end().
 * Return: 0; -EFAULT if L1 has no writable memory there; -EINTR if a signal is
 * pending; another errno if L0 is in trouble.
 */
int kvm_riscv_nested_shmem_begin(struct kvm_vcpu *vcpu, unsigned long *flags)
{
	struct kvm_nested_shmem *shmem = &vcpu->arch.nested.shmem;
	int ret;

	for (;;) {
		local_irq_save(*flags);

		/*
		 * From here on those who take the memory away wait for this
		 * hart, as they do while it runs the guest.
		 */
		WRITE_ONCE(vcpu->mode, READING_SHADOW_PAGE_TABLES);
		/* Pairs with the one between making a request and reading the mode */
		smp_mb();
		if (READ_ONCE(shmem->mapped))
			return 0;

		kvm_riscv_nested_shmem_end(vcpu, *flags);
		ret = shmem_map(vcpu);
		if (ret)
			return ret;
	}
}

/**
 * kvm_riscv_nested_shmem_end - finish what kvm_riscv_nested_shmem_begin() started
 * @vcpu: the vCPU
 * @flags: interrupt state of before
 */
void kvm_riscv_nested_shmem_end(struct kvm_vcpu *vcpu, unsigned long flags)
{
	/* The accesses come before the end of the section */
	smp_store_mb(vcpu->mode, OUTSIDE_GUEST_MODE);
	local_irq_restore(flags);
}

/**
 * kvm_riscv_nested_shmem_set - say where the shared memory is
 * @vcpu: vCPU under its mutex
 * @gpa: page-aligned guest physical address of L1, or INVALID_GPA for nowhere
 *
 * Whether there is memory shows when it is accessed.
 */
void kvm_riscv_nested_shmem_set(struct kvm_vcpu *vcpu, gpa_t gpa)
{
	vcpu->arch.nested.shmem.gpa = gpa;
	WRITE_ONCE(vcpu->arch.nested.shmem.mapped, false);
}

/**
 * kvm_riscv_nested_shmem_zap - make the addresses of all shared memory invalid
 * @kvm: the VM
 *
 * To be called like kvm_riscv_nested_mmu_zap().
 *
 * Context: kvm->mmu_lock held for writing; the caller flushes the TLBs of all
 * vCPUs, and waits for them, before the memory is used for anything else.
 */
void kvm_riscv_nested_shmem_zap(struct kvm *kvm)
{
	struct kvm_vcpu *vcpu;
	unsigned long i;

	lockdep_assert_held_write(&kvm->mmu_lock);

	if (!kvm->arch.nested_mmu.shmem_mapped)
		return;

	WRITE_ONCE(kvm->arch.nested_mmu.shmem_mapped, false);
	kvm_for_each_vcpu(i, vcpu, kvm)
		WRITE_ONCE(vcpu->arch.nested.shmem.mapped, false);
}

// SPDX-License-Identifier: GPL-2.0-only
/*
 * Nested virtualization: shadow G-stages.
 *
 * L2 runs on page tables of L0 that combine two translations: L1's G-stage,
 * from L2's guest physical addresses to L1's, and the VM's own G-stage, from
 * L1's to the host's. Each hgatp that L1 uses has one such shadow, shared by
 * the vCPUs of the VM.
 *
 * A shadow behaves like a TLB with respect to L1, which has to HFENCE.GVMA what
 * it takes away, and is coherent with respect to L0: whoever removes or
 * write-protects entries of the VM's G-stage empties the shadows under the same
 * kvm->mmu_lock before it flushes the TLBs.
 *
 * Unlike the VM's G-stage a shadow loses page tables while it is in use. Their
 * memory must not go to somebody else as long as a hart may walk it, even
 * speculatively in HS-mode: it could take anything for an entry and set A in it.
 * So shadows do not use the requests of kvm_riscv_hfence_gvma_vmid_all(), which
 * vCPUs serve before they enter the guest, but interrupt every hart that has the
 * shadow in hgatp or in its TLB and wait until it has fenced. L0's own walks,
 * which have kvm->mmu_lock, and its accesses with HLV, which have interrupts
 * disabled, are over by then, too.
 */

#include <linux/hugetlb.h>
#include <linux/kvm_host.h>
#include <linux/smp.h>
#include <linux/uaccess.h>
#include <linux/workqueue.h>
#include <asm/kvm_gstage.h>
#include <asm/kvm_mmu.h>
#include <asm/kvm_tlb.h>
#include <asm/kvm_vcpu_nested.h>
#include "nested.h"
#include "trace.h"

/*
 * Contexts that a VM keeps besides the one that each vCPU may hold. With more
 * virtual machines than that, L1 pays with refaults after it switches.
 */
#define NESTED_SPARE_CONTEXTS	8

/*
 * Page tables that all shadows of a VM may have. One table maps up to 512 pages,
 * so with one for each 64 pages of its memory a VM can have all of it in shadows
 * with 4 KiB leaves although the tables are only one eighth full; that is 1.6 %
 * of the memory. What is granted for nothing is for VMs with hardly any: a vCPU
 * gets on with 100 tables even if each translation of an instruction needs its
 * own ones, on all levels of both stages.
 */
#define NESTED_PAGES_PER_TABLE	64
#define NESTED_TABLES_PER_VM	512
#define NESTED_TABLES_PER_VCPU	128

/* Entries are removed one by one up to this size, above it a shadow is emptied */
#define NESTED_MAX_UNMAP	SZ_2M

/* htinst: pseudoinstructions of an access to VS-stage page tables (RV64) */
#define HTINST_PT_READ		0x3000
#define HTINST_PT_WRITE		0x3020

/* Fields of a page table entry that <asm/pgtable.h> has no name for */
#define PTE_RESERVED		GENMASK_ULL(60, 54)
#define PTE_N			BIT_ULL(63)
#define PTE_PBMT		GENMASK_ULL(62, 61)
#define PTE_PPN			GENMASK_ULL(53, 10)
#define NAPOT_64K_PPN		0x8
#define NAPOT_64K_MASK		0xf

/**
 * struct l1_walk - result of a walk of L1's G-stage page table
 *
 * @gpa: guest physical address of L1
 * @level: level of the leaf, 0 for 4 KiB
 * @pte: the leaf
 */
struct l1_walk {
	gpa_t gpa;
	u32 level;
	u64 pte;
};

static gpa_t level_size(u32 level)
{
	return BIT_ULL(HGATP_PAGE_SHIFT + level * kvm_riscv_gstage_index_bits);
}

/**
 * kvm_riscv_nested_hgatp_levels - number of page table levels of an hgatp
 * @hgatp: value of L1's hgatp
 *
 * Return: 3 to 5, or 0 if the mode is Bare or not offered. L1 is offered what
 * the host has, because the shadow uses the same mode.
 */
unsigned long kvm_riscv_nested_hgatp_levels(unsigned long hgatp)
{
	unsigned long mode = hgatp >> HGATP_MODE_SHIFT;
	unsigned long levels;

	for (levels = 3; levels <= kvm_riscv_gstage_max_pgd_levels; levels++) {
		if (kvm_riscv_gstage_mode(levels) == mode)
			return levels;
	}

	return 0;
}

static void shadow_to_gstage(struct kvm *kvm, struct kvm_nested_gstage *shadow,
			     struct kvm_gstage *gstage)
{
	gstage->kvm = kvm;
	gstage->flags = KVM_GSTAGE_FLAGS_LOCAL;
	gstage->vmid = READ_ONCE(shadow->vmid.vmid);
	gstage->pgd = shadow->pgd;
	gstage->pgd_levels = shadow->pgd_levels;
}

/**
 * struct shadow_fence - what the harts that have used a shadow do
 *
 * @shadow: the shadow
 * @kvm: the VM that it belongs to
 * @vmid: its VMID on the hart
 * @start: first guest physical address of L2 to fence
 * @size: number of bytes; with -1 it is everything
 * @retire: nobody uses the shadow any more, so take it off the hart, too
 */
struct shadow_fence {
	struct kvm_nested_gstage *shadow;
	struct kvm *kvm;
	unsigned long vmid;
	gpa_t start;
	gpa_t size;
	bool retire;
};

static unsigned long shadow_ppn(struct kvm_nested_gstage *shadow)
{
	return (__pa(shadow->pgd) >> PAGE_SHIFT) & HGATP_PPN;
}

static void shadow_fence_local(void *info)
{
	struct shadow_fence *f = info;
	bool loaded = (csr_read(CSR_HGATP) & HGATP_PPN) == shadow_ppn(f->shadow);
	struct kvm_vcpu *running = kvm_get_running_vcpu();

	/*
	 * A vCPU that went elsewhere left its CSRs behind. If it comes back it
	 * must not take them for good.
	 */
	if (loaded && f->retire) {
		csr_write(CSR_VSATP, 0);
		csr_write(CSR_HGATP, 0);
		kvm_riscv_clear_former_vcpu();
		loaded = false;
	}

	/*
	 * A hart that has nothing of the shadow left need not be asked again, and
	 * one that the VM has moved away from must not be, whoever it works for now.
	 */
	if (!loaded && (f->size == (gpa_t)-1 || !running || running->kvm != f->kvm)) {
		kvm_riscv_local_hfence_gvma_vmid_all(f->vmid);
		kvm_riscv_local_hfence_vvma_all(f->vmid);
		cpumask_clear_cpu(smp_processor_id(), &f->shadow->harts);
		return;
	}

	kvm_riscv_local_hfence_gvma_vmid_gpa(f->vmid, f->start, f->size, PAGE_SHIFT);
}

/*
 * Make all harts forget a range of a shadow, after its entries were changed.
 *
 * On return no hart uses what the entries were before. Interrupts have to be
 * enabled; nobody waits for kvm->mmu_lock with interrupts disabled.
 */
static void shadow_fence(struct kvm *kvm, struct kvm_nested_gstage *shadow, gpa_t start,
			 gpa_t size, bool retire)
{
	struct shadow_fence f = {
		.shadow = shadow,
		.kvm = kvm,
		.start = start,
		.size = size,
		.retire = retire,
	};

	/*
	 * The entries were changed before. Pairs with the one in
	 * kvm_riscv_nested_hgatp(): either the hart is seen here, or it sees
	 * the entries as they are now. A VMID that is given to the shadow after
	 * this is new to all TLBs.
	 */
	smp_mb();
	f.vmid = READ_ONCE(shadow->vmid.vmid);
	on_each_cpu_mask(&shadow->harts, shadow_fence_local, &f, true);
}

/* Page tables that a VM may have for all its shadows */
static u64 max_tables(struct kvm *kvm)
{
	return READ_ONCE(kvm->nr_memslot_pages) / NESTED_PAGES_PER_TABLE +
	       NESTED_TABLES_PER_VM +
	       NESTED_TABLES_PER_VCPU * (u64)atomic_read(&kvm->online_vcpus);
}

static pte_t *table_alloc(struct kvm *kvm, struct kvm_nested_gstage *shadow,
			  struct kvm_mmu_memory_cache *cache)
{
	void *table;

	if (atomic64_read(&kvm->stat.nested_shadow_tables) >= max_tables(kvm))
		return NULL;

	table = kvm_mmu_memory_cache_alloc(cache);
	list_add(&virt_to_page(table)->lru, &shadow->tables);
	shadow->nr_tables++;
	atomic64_inc(&kvm->stat.nested_shadow_tables);

	return table;
}

static unsigned long entry_index(unsigned long levels, gpa_t gpa, u32 level)
{
	unsigned long bits = kvm_riscv_gstage_index_bits;

	if (level == levels - 1)
		bits += kvm_riscv_gstage_pgd_xbits;

	return gpa >> (HGATP_PAGE_SHIFT + level * kvm_riscv_gstage_index_bits) &
	       (BIT(bits) - 1);
}

/*
 * The entry for an address at a level at which, or below which, there is no
 * leaf. Makes the page tables that are missing; returns NULL if the VM has too
 * many already.
 */
static pte_t *shadow_entry(struct kvm *kvm, struct kvm_nested_gstage *shadow,
			   struct kvm_mmu_memory_cache *cache, gpa_t gpa, u32 level)
{
	pte_t *table = (pte_t *)shadow->pgd, *ptep;
	u32 at;

	for (at = shadow->pgd_levels - 1; ; at--) {
		ptep = &table[entry_index(shadow->pgd_levels, gpa, at)];
		if (at == level)
			return ptep;

		if (!pte_val(ptep_get(ptep))) {
			table = table_alloc(kvm, shadow, cache);
			if (!table)
				return NULL;
			/* A hart that finds the table has to find it empty */
			smp_wmb();
			set_pte(ptep, pfn_pte(PFN_DOWN(__pa(table)),
					      __pgprot(_PAGE_TABLE)));
		} else {
			table = pfn_to_virt(pte_pfn(ptep_get(ptep)));
		}
	}
}

/* Remove all leaves that overlap a range of not more than NESTED_MAX_UNMAP */
static void shadow_unmap(struct kvm *kvm, struct kvm_nested_gstage *shadow,
			 gpa_t start, gpa_t end)
{
	struct kvm_gstage gstage;
	bool flush = false;
	gpa_t addr = start;
	pte_t *ptep;
	u32 level;

	lockdep_assert_held_write(&kvm->mmu_lock);

	shadow_to_gstage(kvm, shadow, &gstage);
	while (addr < end) {
		if (kvm_riscv_gstage_get_leaf(&gstage, addr, &ptep, &level)) {
			set_pte(ptep, __pte(0));
			flush = true;
		}
		addr = ALIGN_DOWN(addr, level_size(level)) + level_size(level);
	}

	if (flush)
		shadow_fence(kvm, shadow, start, end - start, false);
}

/*
 * Remove all entries, at a cost that does not depend on how many there are. The
 * page tables wait in kvm_nested_mmu.detached.
 */
static void __shadow_empty(struct kvm *kvm, struct kvm_nested_gstage *shadow,
			   bool retire)
{
	unsigned long i, entries = kvm_riscv_gstage_pgd_size / sizeof(pte_t);
	struct kvm_nested_mmu *mmu = &kvm->arch.nested_mmu;
	pte_t *root = (pte_t *)shadow->pgd;

	lockdep_assert_held_write(&kvm->mmu_lock);

	for (i = 0; shadow->populated && i < entries; i++) {
		if (pte_val(ptep_get(root + i)))
			set_pte(root + i, __pte(0));
	}
	shadow_fence(kvm, shadow, 0, -1ULL, retire);

	list_splice_init(&shadow->tables, &mmu->detached);
	mmu->nr_detached += shadow->nr_tables;
	shadow->nr_tables = 0;
	shadow->populated = false;
	shadow->split_level = 0;
}

static void shadow_empty(struct kvm *kvm, struct kvm_nested_gstage *shadow)
{
	if (!shadow->populated)
		return;

	__shadow_empty(kvm, shadow, false);
	kvm->stat.nested_shadow_zaps++;
}

/* Free what was detached. May sleep, so not under kvm->mmu_lock. */
static void free_detached(struct kvm *kvm)
{
	struct kvm_nested_mmu *mmu = &kvm->arch.nested_mmu;
	struct page *page, *next;
	LIST_HEAD(pages);

	write_lock(&kvm->mmu_lock);
	list_splice_init(&mmu->detached, &pages);
	mmu->nr_detached = 0;
	write_unlock(&kvm->mmu_lock);

	list_for_each_entry_safe(page, next, &pages, lru) {
		list_del(&page->lru);
		__free_page(page);
		atomic64_dec(&kvm->stat.nested_shadow_tables);
		cond_resched();
	}
}

static void free_work_fn(struct work_struct *work)
{
	free_detached(container_of(work, struct kvm_nested_mmu, free_work)->kvm);
}

/*
 * There are too many page tables: empty the shadows that were used least
 * recently until half of them is gone. Each table that is lost like this had at
 * least one fault of L2 to get it, so the cost stays in proportion to those.
 */
static void shrink(struct kvm *kvm)
{
	struct kvm_nested_mmu *mmu = &kvm->arch.nested_mmu;
	struct kvm_nested_gstage *shadow;

	list_for_each_entry_reverse(shadow, &mmu->contexts, node) {
		if (mmu->nr_detached >= max_tables(kvm) / 2)
			break;
		shadow_empty(kvm, shadow);
	}
	kvm->stat.nested_shadow_overflows++;
}

static void shadow_set_hgatp(struct kvm *kvm, struct kvm_nested_gstage *shadow,
			     unsigned long hgatp)
{
	shadow->hgatp = hgatp;
	shadow->pgd_levels = kvm_riscv_nested_hgatp_levels(hgatp) ?: kvm->arch.pgd_levels;
}

static void shadow_free(struct kvm_nested_gstage *shadow)
{
	free_pages((unsigned long)shadow->pgd, get_order(kvm_riscv_gstage_pgd_size));
	kfree(shadow);
}

static struct kvm_nested_gstage *shadow_alloc(void)
{
	struct kvm_nested_gstage *shadow;
	struct page *page;

	shadow = kzalloc_obj(*shadow, GFP_KERNEL_ACCOUNT);
	if (!shadow)
		return NULL;

	page = alloc_pages(GFP_KERNEL_ACCOUNT | __GFP_ZERO,
			   get_order(kvm_riscv_gstage_pgd_size));
	if (!page) {
		kfree(shadow);
		return NULL;
	}

	INIT_LIST_HEAD(&shadow->tables);
	shadow->pgd = page_to_virt(page);

	return shadow;
}

static struct kvm_nested_gstage *shadow_find(struct kvm *kvm, unsigned long hgatp)
{
	struct kvm_nested_gstage *shadow;

	list_for_each_entry(shadow, &kvm->arch.nested_mmu.contexts, node) {
		if (shadow->hgatp == hgatp)
			return shadow;
	}

	return NULL;
}

/*
 * Take the least recently used context that no vCPU holds for another hgatp,
 * once there are enough of them. It keeps its VMID, so that an L1 that uses ever
 * new hgatps does not use up those of all VMs and make all harts flush.
 */
static struct kvm_nested_gstage *shadow_recycle(struct kvm *kvm, unsigned long hgatp)
{
	struct kvm_nested_mmu *mmu = &kvm->arch.nested_mmu;
	struct kvm_nested_gstage *shadow;

	if (mmu->nr_contexts < atomic_read(&kvm->online_vcpus) + NESTED_SPARE_CONTEXTS)
		return NULL;

	list_for_each_entry_reverse(shadow, &mmu->contexts, node) {
		if (!shadow->users) {
			__shadow_empty(kvm, shadow, true);
			shadow_set_hgatp(kvm, shadow, hgatp);
			return shadow;
		}
	}

	return NULL;
}

/* Make @shadow the one of a loaded vCPU, and let go of the one before */
static void shadow_hold(struct kvm_vcpu *vcpu, struct kvm_nested_gstage *shadow)
{
	struct kvm_vcpu_nested *n = &vcpu->arch.nested;
	struct kvm_nested_gstage *old = n->gstage;
	unsigned long vsatp;

	shadow->users++;

	preempt_disable();
	n->gstage = shadow;
	if (n->virt) {
		vsatp = csr_swap(CSR_VSATP, 0);
		kvm_riscv_mmu_update_hgatp(vcpu);
		csr_write(CSR_VSATP, vsatp);
	}
	preempt_enable();

	/* Only now, because it is not on this hart any more */
	if (old)
		old->users--;
}

/**
 * kvm_riscv_nested_gstage_get - give a vCPU the shadow of its present hgatp
 * @vcpu: loaded vCPU with the H extension
 *
 * The vCPU holds the shadow until it needs another one. All Bare hgatps share
 * one shadow, in which L2's addresses are L1's.
 *
 * Context: process context, may sleep.
 * Return: 0, or -ENOMEM.
 */
int kvm_riscv_nested_gstage_get(struct kvm_vcpu *vcpu)
{
	struct kvm_vcpu_nested *n = &vcpu->arch.nested;
	struct kvm_nested_mmu *mmu = &vcpu->kvm->arch.nested_mmu;
	struct kvm_nested_gstage *shadow, *new = NULL;
	unsigned long hgatp = n->csr.hgatp;
	struct kvm *kvm = vcpu->kvm;
	bool detached;

	if (!kvm_riscv_nested_hgatp_levels(hgatp))
		hgatp = 0;

	/* The shadow that a vCPU holds cannot change identity */
	if (n->gstage && n->gstage->hgatp == hgatp)
		return 0;

	write_lock(&kvm->mmu_lock);
	shadow = shadow_find(kvm, hgatp) ?: shadow_recycle(kvm, hgatp);
	if (!shadow) {
		write_unlock(&kvm->mmu_lock);
		new = shadow_alloc();
		if (!new)
			return -ENOMEM;
		write_lock(&kvm->mmu_lock);
		shadow = shadow_find(kvm, hgatp);
	}
	if (!shadow) {
		shadow = new;
		new = NULL;
		shadow_set_hgatp(kvm, shadow, hgatp);
		list_add(&shadow->node, &mmu->contexts);
		mmu->nr_contexts++;
	} else {
		list_move(&shadow->node, &mmu->contexts);
	}
	shadow_hold(vcpu, shadow);
	detached = mmu->nr_detached;
	write_unlock(&kvm->mmu_lock);

	if (detached)
		free_detached(kvm);
	if (new)
		shadow_free(new);

	return 0;
}

/**
 * kvm_riscv_nested_hgatp - hgatp of the hart for a shadow
 * @shadow: the shadow, with a VMID
 *
 * Notes that this hart uses the shadow, for those who change its entries.
 *
 * Context: interrupts disabled until the value is in the CSR.
 */
unsigned long kvm_riscv_nested_hgatp(struct kvm_nested_gstage *shadow)
{
	int cpu = smp_processor_id();

	lockdep_assert_irqs_disabled();

	if (!cpumask_test_cpu(cpu, &shadow->harts)) {
		cpumask_set_cpu(cpu, &shadow->harts);
		/* Pairs with the one in shadow_fence() */
		smp_mb();
	}

	return kvm_riscv_gstage_mode(shadow->pgd_levels) << HGATP_MODE_SHIFT |
	       ((READ_ONCE(shadow->vmid.vmid) << HGATP_VMID_SHIFT) & HGATP_VMID) |
	       shadow_ppn(shadow);
}

/**
 * kvm_riscv_nested_update_hgatp - set hgatp for a vCPU that runs L2
 * @vcpu: loaded vCPU with @virt set
 *
 * A vCPU that userspace restored in L2 has no shadow at first and cannot run.
 * Until it has one, what a speculative walk makes of L2's vsatp is tagged with
 * VMID 0, which nobody runs with.
 *
 * Context: preemption and interrupts may be enabled.
 */
void kvm_riscv_nested_update_hgatp(struct kvm_vcpu *vcpu)
{
	struct kvm_nested_gstage *shadow = vcpu->arch.nested.gstage;
	struct kvm_arch *ka = &vcpu->kvm->arch;
	unsigned long flags;

	local_irq_save(flags);
	if (shadow)
		csr_write(CSR_HGATP, kvm_riscv_nested_hgatp(shadow));
	else
		csr_write(CSR_HGATP,
			  kvm_riscv_gstage_mode(ka->pgd_levels) << HGATP_MODE_SHIFT |
			  ((ka->pgd_phys >> PAGE_SHIFT) & HGATP_PPN));
	local_irq_restore(flags);
}

/**
 * kvm_riscv_nested_gstage_put - let go of the shadow that a vCPU holds
 * @vcpu: vCPU that will not run any more
 */
void kvm_riscv_nested_gstage_put(struct kvm_vcpu *vcpu)
{
	struct kvm_nested_gstage *shadow = vcpu->arch.nested.gstage;

	if (!shadow)
		return;

	write_lock(&vcpu->kvm->mmu_lock);
	shadow->users--;
	vcpu->arch.nested.gstage = NULL;
	write_unlock(&vcpu->kvm->mmu_lock);
}

/**
 * kvm_riscv_nested_mmu_init - prepare a VM
 * @kvm: VM that is being created
 */
void kvm_riscv_nested_mmu_init(struct kvm *kvm)
{
	struct kvm_nested_mmu *mmu = &kvm->arch.nested_mmu;

	INIT_LIST_HEAD(&mmu->contexts);
	INIT_LIST_HEAD(&mmu->detached);
	INIT_WORK(&mmu->free_work, free_work_fn);
	mmu->kvm = kvm;
}

/**
 * kvm_riscv_nested_mmu_destroy - free all shadows of a VM
 * @kvm: VM that has no vCPUs any more
 *
 * Context: process context, may sleep.
 */
void kvm_riscv_nested_mmu_destroy(struct kvm *kvm)
{
	struct kvm_nested_gstage *shadow, *next;

	cancel_work_sync(&kvm->arch.nested_mmu.free_work);

	list_for_each_entry_safe(shadow, next, &kvm->arch.nested_mmu.contexts, node) {
		write_lock(&kvm->mmu_lock);
		list_del(&shadow->node);
		__shadow_empty(kvm, shadow, true);
		write_unlock(&kvm->mmu_lock);
		free_detached(kvm);
		shadow_free(shadow);
	}
	free_detached(kvm);
}

/**
 * kvm_riscv_nested_mmu_zap - empty all shadows of a VM
 * @kvm: the VM
 *
 * To be called by whoever takes something away from the VM's G-stage. No hart
 * has a translation of L2 in its TLB when it returns.
 *
 * Context: kvm->mmu_lock held for writing, interrupts enabled.
 */
void kvm_riscv_nested_mmu_zap(struct kvm *kvm)
{
	struct kvm_nested_mmu *mmu = &kvm->arch.nested_mmu;
	struct kvm_nested_gstage *shadow;

	lockdep_assert_held_write(&kvm->mmu_lock);

	list_for_each_entry(shadow, &mmu->contexts, node)
		shadow_empty(kvm, shadow);

	if (mmu->nr_detached)
		schedule_work(&mmu->free_work);
}

static bool shadow_has_vmid(struct kvm_nested_gstage *shadow, unsigned long vmid)
{
	return vmid == -1UL ||
	       (shadow->hgatp & HGATP_VMID) >> HGATP_VMID_SHIFT == vmid;
}

/**
 * kvm_riscv_nested_hfence_gvma - HFENCE.GVMA of L1
 * @kvm: the VM
 * @vmid: VMID of L1 that it is about, or -1 for all
 * @gpa: first guest physical address of L2
 * @size: size of the range in bytes; -1 stands for everything
 *
 * Acts on all vCPUs because they share the shadows. A fence for one address
 * covers the whole page that L1 mapped there, however small the pieces are in
 * which it is shadowed. A large range costs the whole shadow, not the time to go
 * through it.
 *
 * Context: process context, may sleep.
 */
void kvm_riscv_nested_hfence_gvma(struct kvm *kvm, unsigned long vmid,
				  gpa_t gpa, gpa_t size)
{
	struct kvm_nested_mmu *mmu = &kvm->arch.nested_mmu;
	struct kvm_nested_gstage *shadow;
	gpa_t start, end, max, piece;
	bool detached;

	write_lock(&kvm->mmu_lock);
	/*
	 * L1 changed its page table before; pairs with the load in
	 * kvm_riscv_nested_gstage_map().
	 */
	smp_store_release(&mmu->seq, mmu->seq + 1);

	list_for_each_entry(shadow, &mmu->contexts, node) {
		if (!shadow->populated || !shadow_has_vmid(shadow, vmid))
			continue;

		max = kvm_riscv_gstage_gpa_size(shadow->pgd_levels);
		if (gpa >= max && size != (gpa_t)-1)
			continue;

		piece = level_size(shadow->split_level);
		start = ALIGN_DOWN(gpa, piece);
		if (size >= max - gpa || gpa + size > ALIGN_DOWN(max, piece))
			end = max;
		else
			end = ALIGN(gpa + size, piece);

		if (end - start > NESTED_MAX_UNMAP)
			shadow_empty(kvm, shadow);
		else
			shadow_unmap(kvm, shadow, start, end);
	}
	detached = mmu->nr_detached;
	write_unlock(&kvm->mmu_lock);

	if (detached)
		free_detached(kvm);
}

/**
 * kvm_riscv_nested_hfence_vvma - HFENCE.VVMA of L1
 * @kvm: the VM
 * @vmid: VMID of L1 that it is about
 * @fn: called with the VMID on the hart of each shadow that L1 gave that VMID
 * @data: passed to @fn
 *
 * Context: process context; @fn must not sleep.
 */
void kvm_riscv_nested_hfence_vvma(struct kvm *kvm, unsigned long vmid,
				  void (*fn)(struct kvm *kvm, unsigned long vmid, void *data),
				  void *data)
{
	struct kvm_nested_gstage *shadow;

	read_lock(&kvm->mmu_lock);
	list_for_each_entry(shadow, &kvm->arch.nested_mmu.contexts, node) {
		if (shadow_has_vmid(shadow, vmid))
			fn(kvm, READ_ONCE(shadow->vmid.vmid), data);
	}
	read_unlock(&kvm->mmu_lock);
}

/* Like hardware: a single access, because L1 may be changing the entry */
static int l1_read_pte(struct kvm_vcpu *vcpu, gpa_t pte_gpa, u64 *pte)
{
	hva_t hva = kvm_vcpu_gfn_to_hva(vcpu, gpa_to_gfn(pte_gpa));

	if (kvm_is_error_hva(hva))
		return -EFAULT;

	return get_user(*pte, (u64 __user *)(hva + offset_in_page(pte_gpa)));
}

/* Set A or D in a leaf of L1 like hardware with Svadu, if it is still the same */
static int l1_update_ad(struct kvm_vcpu *vcpu, gpa_t pte_gpa, u64 old, u64 new)
{
	struct kvm_host_map map;
	int ret = 0;

	if (kvm_vcpu_map(vcpu, gpa_to_gfn(pte_gpa), &map))
		return -EFAULT;
	if (cmpxchg64((u64 *)(map.hva + offset_in_page(pte_gpa)), old, new) != old)
		ret = -EAGAIN;
	kvm_vcpu_unmap(vcpu, &map);

	return ret;
}

/* Is a leaf of L1 well-formed? */
static bool l1_leaf_valid(struct kvm_vcpu *vcpu, u64 pte, u32 level)
{
	u64 ppn = (pte & PTE_PPN) >> _PAGE_PFN_SHIFT;

	if (!(pte & _PAGE_USER))
		return false;
	if (pte & PTE_N &&
	    (level || !riscv_isa_extension_available(vcpu->arch.isa, SVNAPOT) ||
	     (ppn & NAPOT_64K_MASK) != NAPOT_64K_PPN))
		return false;
	if (pte & PTE_PBMT &&
	    ((pte & PTE_PBMT) == PTE_PBMT ||
	     !riscv_isa_extension_available(vcpu->arch.isa, SVPBMT)))
		return false;

	return IS_ALIGNED(ppn << HGATP_PAGE_SHIFT, level_size(level));
}

/* sstatus of L1, which loads its guest's memory with HLV while V = 0 */
static unsigned long l1_sstatus(struct kvm_vcpu *vcpu)
{
	return vcpu->arch.nested.virt ? vcpu->arch.guest_csr.vsstatus :
					csr_read(CSR_VSSTATUS);
}

/*
 * Walk L1's G-stage page table (privileged specification 15.5.1 and 12.3.2).
 *
 * Returns 0 with @walk filled in, -EFAULT for a guest-page fault of L1, -ENXIO
 * if L1 has no memory where its page table should be, -EAGAIN to try again.
 */
static int l1_walk(struct kvm_vcpu *vcpu, unsigned long hgatp, gpa_t gpa,
		   u64 access, struct l1_walk *walk)
{
	unsigned long levels = kvm_riscv_nested_hgatp_levels(hgatp);
	gpa_t table = (hgatp & HGATP_PPN) << HGATP_PAGE_SHIFT;
	gpa_t pte_gpa;
	u64 pte, ad;
	u32 level;

	if (!levels) {
		walk->gpa = gpa;
		walk->level = vcpu->kvm->arch.pgd_levels - 1;
		walk->pte = _PAGE_READ | _PAGE_WRITE | _PAGE_EXEC | _PAGE_DIRTY;
		return 0;
	}

	if (gpa >= kvm_riscv_gstage_gpa_size(levels))
		return -EFAULT;

	for (level = levels - 1; ; level--) {
		pte_gpa = table + entry_index(levels, gpa, level) * sizeof(pte);
		if (l1_read_pte(vcpu, pte_gpa, &pte))
			return -ENXIO;

		if (!(pte & _PAGE_PRESENT) || pte & PTE_RESERVED ||
		    (pte & (_PAGE_READ | _PAGE_WRITE)) == _PAGE_WRITE)
			return -EFAULT;
		if (pte & (_PAGE_READ | _PAGE_EXEC))
			break;
		if (!level || pte & (_PAGE_ACCESSED | _PAGE_DIRTY | _PAGE_USER |
				     PTE_N | PTE_PBMT))
			return -EFAULT;
		table = (pte & PTE_PPN) >> _PAGE_PFN_SHIFT << HGATP_PAGE_SHIFT;
	}

	if (!l1_leaf_valid(vcpu, pte, level))
		return -EFAULT;

	/* sstatus.MXR of L1 makes executable pages readable for L2 */
	if (access == _PAGE_READ && l1_sstatus(vcpu) & SR_MXR)
		access |= _PAGE_EXEC;
	if (!(pte & access))
		return -EFAULT;

	ad = _PAGE_ACCESSED | (access & _PAGE_WRITE ? _PAGE_DIRTY : 0);
	if ((pte & ad) != ad) {
		int ret;

		/* Svade: software sets the bits; Svadu: hardware does */
		if (!(vcpu->arch.cfg.henvcfg & ENVCFG_ADUE))
			return -EFAULT;
		ret = l1_update_ad(vcpu, pte_gpa, pte, pte | ad);
		if (ret)
			return ret == -EFAULT ? -ENXIO : ret;
		pte |= ad;
	}

	walk->level = level;
	walk->pte = pte;
	walk->gpa = (pte & PTE_PPN) >> _PAGE_PFN_SHIFT << HGATP_PAGE_SHIFT;
	if (pte & PTE_N)
		walk->gpa = ALIGN_DOWN(walk->gpa, SZ_64K) | (gpa & (SZ_64K - 1) & PAGE_MASK);
	walk->gpa |= gpa & (level_size(level) - 1);

	return 0;
}

/* Permissions of a shadow leaf: what both levels allow */
static pgprot_t shadow_prot(u64 l1_pte, pte_t l0_pte)
{
	unsigned long both = l1_pte & pte_val(l0_pte) &
			     (_PAGE_READ | _PAGE_WRITE | _PAGE_EXEC);

	/* Until L1 has D set, a write has to reach its page table */
	if (!(l1_pte & _PAGE_DIRTY))
		both &= ~_PAGE_WRITE;

	return __pgprot(_PAGE_PRESENT | _PAGE_ACCESSED | _PAGE_DIRTY | _PAGE_USER |
			both | (pte_val(l0_pte) & PTE_PBMT ?: l1_pte & PTE_PBMT));
}

/*
 * A leaf is in the way of smaller ones. Other harts have to forget it at once:
 * a later fence of L1 for another part of it would find nothing to flush.
 */
static void shadow_split(struct kvm *kvm, struct kvm_nested_gstage *shadow, gpa_t gpa,
			 pte_t *ptep)
{
	set_pte(ptep, __pte(0));
	/* A fence for any address in it is one for the leaf */
	shadow_fence(kvm, shadow, gpa & PAGE_MASK, PAGE_SIZE, false);
}

/*
 * Make a shadow leaf for @gpa. The VM's G-stage has to map the page already.
 *
 * Returns 0; -EAGAIN if that is not or no longer so, or if L1 fenced since @seq
 * was read; -ENOSPC if there are too many page tables and some of them have to
 * be freed first.
 */
static int shadow_map(struct kvm_vcpu *vcpu, gpa_t gpa, u64 access,
		      const struct l1_walk *walk, unsigned long seq)
{
	struct kvm_nested_gstage *shadow = vcpu->arch.nested.gstage;
	struct kvm_nested_mmu *mmu = &vcpu->kvm->arch.nested_mmu;
	struct kvm_gstage l0, gstage;
	struct kvm *kvm = vcpu->kvm;
	u32 l0_level, level, found;
	pte_t *l0_ptep, *ptep, pte;
	phys_addr_t hpa;
	bool leaf;
	int ret;

	write_lock(&kvm->mmu_lock);

	ret = -EAGAIN;
	if (seq != mmu->seq)
		goto out;

	kvm_riscv_gstage_init(&l0, kvm);
	if (!kvm_riscv_gstage_get_leaf(&l0, walk->gpa, &l0_ptep, &l0_level))
		goto out;
	if (access & _PAGE_WRITE && !(pte_val(ptep_get(l0_ptep)) & _PAGE_WRITE))
		goto out;

	/* The smaller of both page sizes, and never replace a page table */
	level = min3(walk->level, l0_level, (u32)shadow->pgd_levels - 1);
	if (walk->pte & PTE_N)
		level = 0;
	shadow_to_gstage(kvm, shadow, &gstage);
	leaf = kvm_riscv_gstage_get_leaf(&gstage, gpa, &ptep, &found);
	if (found < level)
		level = found;
	else if (leaf && found > level)
		shadow_split(kvm, shadow, gpa, ptep);

	shadow->populated = true;
	ptep = shadow_entry(kvm, shadow, &vcpu->arch.mmu_page_cache, gpa, level);
	if (!ptep) {
		if (!mmu->nr_detached)
			shrink(kvm);
		ret = -ENOSPC;
		goto out;
	}

	hpa = PFN_PHYS(pte_pfn(ptep_get(l0_ptep))) +
	      (walk->gpa & (level_size(l0_level) - 1));
	pte = pfn_pte(PFN_DOWN(ALIGN_DOWN(hpa, level_size(level))),
		      shadow_prot(walk->pte, ptep_get(l0_ptep)));
	set_pte(ptep, pte);

	/*
	 * This hart needs to forget that there was no leaf, or one with less
	 * permissions. Another one that does not takes a fault, and gets here
	 * with nothing to change: the fence is what it needs.
	 */
	kvm_riscv_local_hfence_gvma_vmid_gpa(READ_ONCE(shadow->vmid.vmid), gpa & PAGE_MASK,
					     PAGE_SIZE, PAGE_SHIFT);

	vcpu->stat.nested_shadow_maps++;
	trace_kvm_nested_shadow_map(vcpu->vcpu_id, gpa, walk->gpa, level, pte_val(pte));
	if (level < walk->level || walk->pte & PTE_N)
		shadow->split_level = max_t(u32, shadow->split_level,
					    walk->pte & PTE_N ? 1 : walk->level);
	ret = 0;
out:
	write_unlock(&kvm->mmu_lock);
	return ret;
}

/* Make sure that the VM's G-stage maps a page of L1 with the access needed */
static int l0_map(struct kvm_vcpu *vcpu, struct kvm_memory_slot *slot,
		  gpa_t gpa, hva_t hva, u64 access)
{
	struct kvm_gstage_mapping map;
	struct kvm_gstage l0;
	pte_t *ptep;
	u32 level;
	bool ok;

	kvm_riscv_gstage_init(&l0, vcpu->kvm);
	read_lock(&vcpu->kvm->mmu_lock);
	ok = kvm_riscv_gstage_get_leaf(&l0, gpa, &ptep, &level) &&
	     (!(access & _PAGE_WRITE) || pte_val(ptep_get(ptep)) & _PAGE_WRITE);
	read_unlock(&vcpu->kvm->mmu_lock);

	return ok ? 0 : kvm_riscv_mmu_map(vcpu, slot, gpa, hva,
					  access & _PAGE_WRITE, &map);
}

/**
 * kvm_riscv_nested_implicit - was the access one to a VS-stage page table?
 * @trap: guest-page fault, as the hart reported it
 *
 * The hart says so with a pseudoinstruction in htinst (privileged specification
 * 15.6.3).
 */
bool kvm_riscv_nested_implicit(const struct kvm_cpu_trap *trap)
{
	return trap->htinst == HTINST_PT_READ || trap->htinst == HTINST_PT_WRITE;
}

/**
 * kvm_riscv_nested_fault_access - permission that a faulting access needs
 * @trap: guest-page fault, as the hart reported it
 *
 * Return: one of _PAGE_READ, _PAGE_WRITE and _PAGE_EXEC
 */
u64 kvm_riscv_nested_fault_access(const struct kvm_cpu_trap *trap)
{
	/* An implicit access to a VS-stage page table has its own kind */
	if (trap->htinst == HTINST_PT_READ)
		return _PAGE_READ;
	if (trap->htinst == HTINST_PT_WRITE)
		return _PAGE_WRITE;

	switch (trap->scause) {
	case EXC_INST_GUEST_PAGE_FAULT:
		return _PAGE_EXEC;
	case EXC_STORE_GUEST_PAGE_FAULT:
		return _PAGE_WRITE;
	default:
		return _PAGE_READ;
	}
}

static const u8 access_fault[] = {
	[EXC_INST_GUEST_PAGE_FAULT]	= EXC_INST_ACCESS,
	[EXC_LOAD_GUEST_PAGE_FAULT]	= EXC_LOAD_ACCESS,
	[EXC_STORE_GUEST_PAGE_FAULT]	= EXC_STORE_ACCESS,
};

/**
 * kvm_riscv_nested_gstage_map - make L1's translation of an L2 address present
 * @vcpu: loaded vCPU that holds the shadow of its hgatp
 * @access: permission that the access needs, one of _PAGE_READ, _PAGE_WRITE and
 *	    _PAGE_EXEC
 * @trap: guest-page fault of the hart; replaced by the one for L1 if need be
 * @l1_gpa: where the guest physical address of L1 goes
 *
 * Context: process context, srcu held, may sleep.
 * Return: 1 if the access can be tried again; 0 if @trap is to be given to L1;
 * -ENXIO if L1 has no memory at @l1_gpa; another errno if L0 is in trouble.
 */
int kvm_riscv_nested_gstage_map(struct kvm_vcpu *vcpu, u64 access,
				struct kvm_cpu_trap *trap, gpa_t *l1_gpa)
{
	gpa_t gpa = ((gpa_t)trap->htval << 2) | (trap->stval & 3);
	struct kvm_memory_slot *slot;
	struct l1_walk walk;
	unsigned long seq;
	bool writable;
	hva_t hva;
	int ret;

	/*
	 * Before the first read of L1's page table; pairs with the store in
	 * kvm_riscv_nested_hfence_gvma().
	 */
	seq = smp_load_acquire(&vcpu->kvm->arch.nested_mmu.seq);

	ret = l1_walk(vcpu, vcpu->arch.nested.csr.hgatp, gpa, access, &walk);
	switch (ret) {
	case 0:
		break;
	case -EAGAIN:
		return 1;
	case -ENXIO:
		/* As hardware: the page table is not in memory */
		trap->scause = access_fault[trap->scause];
		trap->htval = 0;
		trap->htinst = 0;
		return 0;
	default:
		return 0;
	}

	*l1_gpa = walk.gpa;
	slot = kvm_vcpu_gfn_to_memslot(vcpu, gpa_to_gfn(walk.gpa));
	hva = gfn_to_hva_memslot_prot(slot, gpa_to_gfn(walk.gpa), &writable);
	if (kvm_is_error_hva(hva) || (access & _PAGE_WRITE && !writable))
		return -ENXIO;

	ret = kvm_mmu_topup_memory_cache(&vcpu->arch.mmu_page_cache,
					 vcpu->arch.nested.gstage->pgd_levels);
	if (ret)
		return ret;

	ret = l0_map(vcpu, slot, walk.gpa, hva, access);
	if (ret < 0)
		return ret;

	/* kvm_riscv_mmu_map() may have used some of it up */
	ret = kvm_mmu_topup_memory_cache(&vcpu->arch.mmu_page_cache,
					 vcpu->arch.nested.gstage->pgd_levels);
	if (ret)
		return ret;

	if (shadow_map(vcpu, gpa, access, &walk, seq) == -ENOSPC)
		free_detached(vcpu->kvm);
	return 1;
}

/**
 * kvm_riscv_nested_gstage_fault - handle a guest-page fault of L2
 * @vcpu: loaded vCPU that runs L2
 * @run: its kvm_run
 * @trap: what the hart reported
 *
 * Context: process context, srcu held, may sleep.
 * Return: as kvm_riscv_vcpu_exit().
 */
int kvm_riscv_nested_gstage_fault(struct kvm_vcpu *vcpu, struct kvm_run *run,
				  struct kvm_cpu_trap *trap)
{
	u64 access = kvm_riscv_nested_fault_access(trap);
	bool implicit = kvm_riscv_nested_implicit(trap);
	gpa_t gpa;
	int ret;

	ret = kvm_riscv_nested_gstage_map(vcpu, access, trap, &gpa);
	switch (ret) {
	case 0:
		/* A table of L1 where it has no memory made it an access fault */
		if (trap->scause < EXC_INST_GUEST_PAGE_FAULT)
			kvm_riscv_vcpu_trap_redirect(vcpu, trap);
		else
			kvm_riscv_nested_exit_to_l1(vcpu, trap, true);
		return 1;
	case -ENXIO:
		break;
	default:
		return ret;
	}

	/* L1 gave L2 a device of its own, which its VMM emulates */
	ret = -EOPNOTSUPP;
	if (!implicit && trap->scause == EXC_LOAD_GUEST_PAGE_FAULT)
		ret = kvm_riscv_vcpu_mmio_load(vcpu, run, gpa, trap->htinst);
	else if (!implicit && trap->scause == EXC_STORE_GUEST_PAGE_FAULT)
		ret = kvm_riscv_vcpu_mmio_store(vcpu, run, gpa, trap->htinst);
	if (ret != -EOPNOTSUPP && ret != -EIO)
		return ret;

	/*
	 * A device need not support AMOs, misaligned accesses, page tables or
	 * instructions in it. L2 finds that out; it must not end L1.
	 */
	trap->scause = access_fault[trap->scause];
	trap->htval = 0;
	trap->htinst = 0;
	kvm_riscv_vcpu_trap_redirect(vcpu, trap);
	return 1;
}

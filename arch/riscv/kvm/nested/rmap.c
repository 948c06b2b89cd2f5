// SPDX-License-Identifier: GPL-2.0-only
/*
 * Nested virtualization: which entries of a shadow G-stage map a page of L1.
 *
 * Each shadow has a reverse map: for each page size a radix tree, whose slots are
 * numbered by L1's address in units of that size. A slot has the guest physical
 * addresses of L2 at which leaves of that size may map the page.
 *
 * There is no way from a leaf to its slot, so that a leaf can be removed without
 * knowing which page of L1 it was for. What is in a slot says only where to look:
 * each leaf of the shadow is in the slot of its page, but there may be nothing
 * any more where a slot says that there is one, or a leaf for another page. Who
 * acts on such a leaf makes L2 take a fault for nothing. An address that is out
 * of date is replaced when the slot is needed for another one.
 *
 * The memory comes from the page tables that the VM may have for its shadows and
 * is detached from the shadow with these, at no additional cost. All trees of a
 * shadow together have at most one table for each 2 MiB of L1's memory, and those
 * above them.
 */

#include <linux/kvm_host.h>
#include <asm/kvm_gstage.h>
#include <asm/kvm_nested.h>
#include "nested.h"

#define RMAP_BITS	9
#define RMAP_MASK	(BIT(RMAP_BITS) - 1)

/* What a slot is, in its low bits: empty, or one of these */
#define RMAP_TYPE	GENMASK_ULL(1, 0)
#define RMAP_ONE	1ULL
#define RMAP_LIST	2ULL
#define RMAP_MANY	3ULL
#define RMAP_SHIFT	2

/* Slots that can be found to be empty in the time that one leaf takes */
#define SLOTS_PER_VISIT	32

/**
 * union rmap_list - where a page is that L1 maps more than once
 *
 * What L1 maps more often than this is its zero page, or merged from the pages of
 * its guests. Then the slot says only that there are many.
 *
 * @entry: like a slot with one address each, or 0
 * @next: next free list of the shadow
 */
union rmap_list {
	u64 entry[8];
	union rmap_list *next;
};

/* The slot with a number, or NULL if there is no table for it */
static u64 *rmap_slot(struct kvm_nested_rmap *rmap, u64 index)
{
	u64 *table = rmap->root;
	unsigned int at;

	if (!table || index >> (RMAP_BITS * rmap->height))
		return NULL;

	for (at = rmap->height - 1; table && at; at--)
		table = (u64 *)table[index >> (RMAP_BITS * at) & RMAP_MASK];

	return table ? &table[index & RMAP_MASK] : NULL;
}

/* The same, but make the tables that are missing; NULL if there are too many */
static u64 *rmap_make_slot(struct kvm *kvm, struct kvm_nested_gstage *shadow,
			   struct kvm_mmu_memory_cache *cache,
			   struct kvm_nested_rmap *rmap, u64 index)
{
	u64 *table, **link;
	unsigned int at;

	if (!rmap->root)
		rmap->height = max(1, DIV_ROUND_UP(fls64(index), RMAP_BITS));

	while (rmap->root && index >> (RMAP_BITS * rmap->height)) {
		table = kvm_riscv_nested_table_alloc(kvm, shadow, cache);
		if (!table)
			return NULL;
		table[0] = (u64)rmap->root;
		rmap->root = table;
		rmap->height++;
	}

	for (link = &rmap->root, at = rmap->height; ; ) {
		if (!*link)
			*link = kvm_riscv_nested_table_alloc(kvm, shadow, cache);
		table = *link;
		if (!table)
			return NULL;
		if (!--at)
			return &table[index & RMAP_MASK];
		link = (u64 **)&table[index >> (RMAP_BITS * at) & RMAP_MASK];
	}
}

static void list_free(struct kvm_nested_gstage *shadow, union rmap_list *list)
{
	memset(list, 0, sizeof(*list));
	list->next = shadow->rmap_free;
	shadow->rmap_free = list;
}

static union rmap_list *list_alloc(struct kvm *kvm, struct kvm_nested_gstage *shadow,
				   struct kvm_mmu_memory_cache *cache)
{
	union rmap_list *list = shadow->rmap_free;
	unsigned int i;

	if (!list) {
		list = (union rmap_list *)kvm_riscv_nested_table_alloc(kvm, shadow, cache);
		if (!list)
			return NULL;
		for (i = 1; i < PAGE_SIZE / sizeof(*list); i++)
			list_free(shadow, list + i);
	} else {
		shadow->rmap_free = list->next;
		list->next = NULL;
	}

	return list;
}

static union rmap_list *slot_list(u64 slot)
{
	return (union rmap_list *)(slot & ~RMAP_TYPE);
}

/* Is there a leaf where an entry says, and does it map the page now? */
static bool entry_maps(struct kvm_nested_gstage *shadow, u64 entry, u32 level,
		       unsigned long pfn)
{
	pte_t *ptep = kvm_riscv_nested_leaf(shadow, entry >> RMAP_SHIFT, level);

	return ptep && pte_pfn(ptep_get(ptep)) == pfn;
}

static void list_add_entry(struct kvm_nested_gstage *shadow, u64 *slot, u64 entry,
			   u32 level, unsigned long pfn)
{
	union rmap_list *list = slot_list(*slot);
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(list->entry); i++) {
		if (list->entry[i] == entry)
			return;
	}

	for (i = 0; i < ARRAY_SIZE(list->entry); i++) {
		if (list->entry[i] && entry_maps(shadow, list->entry[i], level, pfn))
			continue;
		list->entry[i] = entry;
		return;
	}

	list_free(shadow, list);
	*slot = RMAP_MANY;
}

/**
 * kvm_riscv_nested_rmap_add - note where a page of L1 is going to be mapped
 * @kvm: the VM
 * @shadow: shadow that gets the leaf
 * @cache: where memory comes from; %NESTED_RMAP_OBJS objects are enough
 * @from: page number of L2
 * @to: page number of L1
 * @level: level of the leaf, less than %NESTED_RMAP_LEVELS; both page numbers are
 *	   aligned to it
 * @pfn: page number of the host in the leaf
 *
 * Context: kvm->mmu_lock held for writing.
 * Return: 0, or -ENOSPC if the VM has too many page tables.
 */
int kvm_riscv_nested_rmap_add(struct kvm *kvm, struct kvm_nested_gstage *shadow,
			      struct kvm_mmu_memory_cache *cache, gfn_t from, gfn_t to,
			      u32 level, unsigned long pfn)
{
	u64 entry = from << RMAP_SHIFT | RMAP_ONE;
	union rmap_list *list;
	u64 *slot;

	slot = rmap_make_slot(kvm, shadow, cache, &shadow->rmap[level],
			      to >> (level * kvm_riscv_gstage_index_bits));
	if (!slot)
		return -ENOSPC;

	switch (*slot & RMAP_TYPE) {
	case RMAP_ONE:
		if (*slot == entry)
			break;
		if (!entry_maps(shadow, *slot, level, pfn)) {
			*slot = entry;
			break;
		}
		list = list_alloc(kvm, shadow, cache);
		if (!list)
			return -ENOSPC;
		list->entry[0] = *slot;
		list->entry[1] = entry;
		*slot = (u64)list | RMAP_LIST;
		break;
	case RMAP_LIST:
		list_add_entry(shadow, slot, entry, level, pfn);
		break;
	case RMAP_MANY:
		break;
	default:
		*slot = entry;
	}

	return 0;
}

static void visit(struct kvm_nested_gstage *shadow, struct nested_rmap_walk *w,
		  u64 entry, u32 level)
{
	w->budget--;
	w->fn(shadow, entry >> RMAP_SHIFT, level, w);
}

/* Call a function for what a slot has; false if that is not known */
static bool visit_slot(struct kvm_nested_gstage *shadow, struct nested_rmap_walk *w,
		       u64 *slot, u32 level)
{
	union rmap_list *list;
	unsigned int i;

	switch (*slot & RMAP_TYPE) {
	case RMAP_ONE:
		visit(shadow, w, *slot, level);
		break;
	case RMAP_LIST:
		list = slot_list(*slot);
		for (i = 0; i < ARRAY_SIZE(list->entry); i++) {
			if (list->entry[i])
				visit(shadow, w, list->entry[i], level);
		}
		if (w->forget)
			list_free(shadow, list);
		break;
	case RMAP_MANY:
		return false;
	default:
		return true;
	}

	if (w->forget)
		*slot = 0;
	return true;
}

static bool visit_level(struct kvm_nested_gstage *shadow, struct nested_rmap_walk *w,
			u32 level)
{
	unsigned int shift = level * kvm_riscv_gstage_index_bits;
	u64 index = w->start >> shift, last = (w->end - 1) >> shift, stop;
	bool all = true;
	u64 *slot;

	while (index <= last) {
		stop = min(last, index | RMAP_MASK);
		slot = rmap_slot(&shadow->rmap[level], index);
		if (slot)
			w->budget -= (stop - index) / SLOTS_PER_VISIT;
		if (w->budget-- <= 0)
			return false;
		for (; slot && index <= stop; index++, slot++) {
			if (!*slot)
				continue;
			if (!level && w->mask && !(w->mask >> (index - w->start) & 1))
				continue;
			if (w->budget <= 0)
				return false;
			all &= visit_slot(shadow, w, slot, level);
		}
		index = stop + 1;
	}

	return all;
}

/**
 * kvm_riscv_nested_rmap_walk - visit the leaves that map a range of L1's pages
 * @shadow: the shadow
 * @w: what to visit and what to do
 *
 * Context: kvm->mmu_lock held for writing.
 * Return: false if there may be leaves that were not visited, because there are
 * too many of them.
 */
bool kvm_riscv_nested_rmap_walk(struct kvm_nested_gstage *shadow,
				struct nested_rmap_walk *w)
{
	bool all = true;
	u32 level;

	for (level = 0; level < NESTED_RMAP_LEVELS; level++)
		all &= visit_level(shadow, w, level);

	return all;
}

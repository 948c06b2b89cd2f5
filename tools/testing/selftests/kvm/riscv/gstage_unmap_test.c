// SPDX-License-Identifier: GPL-2.0
/*
 * A guest sees new memory as soon as userspace replaced what it had.
 *
 * Userspace replaces a number of pages that are not next to each other, each by
 * a call of its own, while the vCPU is not running. Each has to be fenced on the
 * CPU of the vCPU before the guest goes on. The test does so for any number of
 * pages up to one that no queue of fences has the room for, KVM's (64) and that
 * of SBI nested acceleration (60) where KVM itself is a guest. The old pages stay
 * where they are, with their contents: a fence that was lost shows.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "kselftest.h"
#include "kvm_util.h"
#include "processor.h"
#include "ucall_common.h"

#define TEST_GPA		0xc0000000UL
#define TEST_GVA		0xc0000000UL
#define TEST_SLOT		1
#define GUEST_PAGE		4096UL

/* Pages that are replaced; between two of them is one that is not */
#define MAX_PAGES		140UL
#define STRIDE			2
#define SLOT_PAGES		(MAX_PAGES * STRIDE)

/* What page i has to contain. Shared with the guest. */
static uint64_t expected[MAX_PAGES];

/* Two sets of pages, and which one of them the guest has: page by page */
static int fd[2];
static unsigned char set[MAX_PAGES];

static const struct {
	const char *name;
	unsigned long first, last;
} ranges[] = {
	{ "a few pages at a time",		1,	24 },
	{ "as many as fill the queues",		25,	80 },
	{ "more than fit into the queues",	81,	MAX_PAGES },
};

/* Report pages with old contents again and again. */
static void guest_code(void)
{
	unsigned long i, stale;

	for (;;) {
		for (i = 0, stale = 0; i < MAX_PAGES; i++) {
			if (READ_ONCE(*(uint64_t *)(TEST_GVA + i * STRIDE * GUEST_PAGE)) !=
			    READ_ONCE(expected[i]))
				stale++;
		}
		GUEST_SYNC(stale);
	}
}

static uint64_t contents(unsigned int which, unsigned long page)
{
	return 0x1000000000000000UL * (which + 1) + page;
}

static void create_set(unsigned int which)
{
	uint64_t val;
	unsigned long i;

	fd[which] = kvm_memfd_alloc(MAX_PAGES * GUEST_PAGE, false);
	for (i = 0; i < MAX_PAGES; i++) {
		val = contents(which, i);
		TEST_ASSERT(pwrite(fd[which], &val, sizeof(val), i * GUEST_PAGE) ==
			    sizeof(val), "cannot write to memory file");
	}
}

/* Give the guest the other page */
static void replace(char *hva, unsigned long i)
{
	void *want = hva + i * STRIDE * GUEST_PAGE;

	set[i] ^= 1;
	TEST_ASSERT(mmap(want, GUEST_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
			 fd[set[i]], i * GUEST_PAGE) == want, "cannot map page %lu", i);
	expected[i] = contents(set[i], i);
}

static unsigned long stale_pages(struct kvm_vm *vm, struct kvm_vcpu *vcpu)
{
	struct ucall uc;

	sync_global_to_guest(vm, expected);
	vcpu_run(vcpu);
	switch (get_ucall(vcpu, &uc)) {
	case UCALL_SYNC:
		return uc.args[1];
	case UCALL_ABORT:
		REPORT_GUEST_ASSERT(uc);
		break;
	default:
		TEST_FAIL("unexpected exit, reason %u", vcpu->run->exit_reason);
	}
	return 0;
}

int main(void)
{
	unsigned long i, n, stale, lost;
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm;
	unsigned int r;
	char *hva;

	ksft_print_header();
	ksft_set_plan(ARRAY_SIZE(ranges));

	vm = vm_create_with_one_vcpu(&vcpu, guest_code);
	/* Without vectors an unexpected trap would loop in the guest for ever. */
	vm_init_vector_tables(vm);
	vcpu_init_vector_tables(vcpu);
	vm_userspace_mem_region_add(vm, VM_MEM_SRC_ANONYMOUS, TEST_GPA, TEST_SLOT,
				    SLOT_PAGES, 0);
	virt_map(vm, TEST_GVA, TEST_GPA, SLOT_PAGES);
	hva = addr_gpa2hva(vm, TEST_GPA);
	madvise(hva, SLOT_PAGES * GUEST_PAGE, MADV_NOHUGEPAGE);

	create_set(0);
	create_set(1);
	for (i = 0; i < MAX_PAGES; i++)
		replace(hva, i);
	TEST_ASSERT(!stale_pages(vm, vcpu), "the guest does not see its memory");

	for (r = 0; r < ARRAY_SIZE(ranges); r++) {
		for (n = ranges[r].first, lost = 0; n <= ranges[r].last; n++) {
			for (i = 0; i < n; i++)
				replace(hva, i);
			stale = stale_pages(vm, vcpu);
			if (stale && !lost)
				ksft_print_msg("%lu of %lu pages are stale\n", stale, n);
			lost += stale;
		}
		ksft_test_result(!lost, "%s\n", ranges[r].name);
	}

	kvm_vm_free(vm);
	ksft_finished();
}

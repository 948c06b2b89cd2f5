// SPDX-License-Identifier: GPL-2.0-only
/*
 * The page tables of a VM's G-stage go with it.
 *
 * A guest reads one byte of each 2 MiB, which takes next to no memory but a page
 * table each. Free memory is compared before and after some VMs: it goes up and
 * down by some 20 MiB by itself.
 */
#include <stdio.h>
#include <unistd.h>

#include "kvm_util.h"
#include "kselftest.h"
#include "processor.h"
#include "ucall_common.h"

#define MEM_BASE	0x100000000UL
#define STEP		0x200000UL
#define TABLES		512UL
#define VMS		32
#define TABLES_KB	(TABLES * 4 * VMS)

static void guest_code(void)
{
	unsigned long i;

	for (i = 0; i < TABLES; i++)
		(void)READ_ONCE(*(unsigned char *)(MEM_BASE + i * STEP));
	GUEST_DONE();
}

static long free_kb(void)
{
	char line[128];
	long kb = 0;
	FILE *f = fopen("/proc/meminfo", "r");

	TEST_ASSERT(f, "/proc/meminfo");
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "MemFree: %ld", &kb) == 1)
			break;
	}
	fclose(f);

	return kb;
}

static void run_vm(void)
{
	struct kvm_vcpu *vcpu;
	/* The guest has as many tables: as if it had mapped all pages */
	struct kvm_vm *vm = __vm_create_with_one_vcpu(&vcpu, 512 * TABLES, guest_code);
	struct ucall uc;
	unsigned long i;

	vm_userspace_mem_region_add(vm, VM_MEM_SRC_ANONYMOUS, MEM_BASE, 1,
				    TABLES * STEP / 4096, 0);
	for (i = 0; i < TABLES; i++)
		virt_map(vm, MEM_BASE + i * STEP, MEM_BASE + i * STEP, 1);
	vcpu_run(vcpu);
	TEST_ASSERT(get_ucall(vcpu, &uc) == UCALL_DONE, "exit %u",
		    vcpu->run->exit_reason);
	kvm_vm_free(vm);
}

int main(void)
{
	long before, lost;
	int i;

	ksft_print_header();
	ksft_set_plan(1);

	/* The first ones fill caches */
	for (i = 0; i < 4; i++)
		run_vm();
	before = free_kb();
	for (i = 0; i < VMS; i++)
		run_vm();

	/* Some memory comes back a little later */
	for (i = 0; i < 20; i++) {
		lost = before - free_kb();
		if (lost < (long)TABLES_KB / 8)
			break;
		usleep(100000);
	}
	ksft_print_msg("%ld KiB less memory after %d VMs, whose tables are %lu KiB\n",
		       lost, VMS, TABLES_KB);
	if (lost < (long)TABLES_KB / 2)
		ksft_test_result_pass("page tables are freed with the VM\n");
	else
		ksft_test_result_fail("page tables are freed with the VM\n");
	ksft_finished();
}

// SPDX-License-Identifier: GPL-2.0-only
/*
 * A small hypervisor that runs inside a VM of KVM.
 */
#include "kvm_util.h"
#include "processor.h"
#include "nested.h"

#define ROOT_SIZE		(16 * 1024)
#define L2_STACK_SIZE		(16 * 1024)

struct nested_pgt nested_pgt;
static char l2_stack[L2_STACK_SIZE] __aligned(16);

bool nested_supported(void)
{
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm = vm_create_with_one_vcpu(&vcpu, NULL);
	bool ret;

	/* KVM enables what it can, and only that */
	ret = __vcpu_has_isa_ext(vcpu, KVM_RISCV_ISA_EXT_H);
	kvm_vm_free(vm);

	return ret;
}

/**
 * nested_map - make a leaf in a page table of L1
 * @pgt: the page table
 * @gpa: guest physical address of L2
 * @to: guest physical address of L1
 * @level: 0 for 4 KiB, 1 for 2 MiB, 2 for 1 GiB
 * @flags: NESTED_PTE_*
 *
 * Return: the leaf
 */
u64 *nested_map(struct nested_pgt *pgt, u64 gpa, u64 to, int level, u64 flags)
{
	u64 *table = pgt->mem, *pte, index, next;
	int i;

	for (i = 2; ; i--) {
		index = gpa >> (12 + 9 * i);
		if (i != 2)
			index &= 511;
		pte = &table[index];
		if (i == level)
			break;
		if (!(*pte & NESTED_PTE_V)) {
			next = pgt->next;
			pgt->next += 4096;
			*pte = (pgt->gpa + next) >> 12 << 10 | NESTED_PTE_V;
		}
		table = pgt->mem + ((*pte >> 10 << 12) - pgt->gpa);
	}
	*pte = to >> 12 << 10 | flags;

	return pte;
}

struct kvm_vm *nested_vm_create(struct kvm_vcpu **vcpu, void *l1_code,
				enum vm_mem_backing_src_type src)
{
	struct kvm_vm *vm = vm_create_with_one_vcpu(vcpu, l1_code);
	struct nested_pgt pgt, *l1_pgt;
	sparsebit_idx_t page;
	gva_t tables;

	vm_init_vector_tables(vm);
	vcpu_init_vector_tables(*vcpu);

	vm_userspace_mem_region_add(vm, src, NESTED_TEST_GPA, 1, NESTED_TEST_PAGES, 0);
	virt_map(vm, NESTED_L2_ADDR, NESTED_TEST_GPA, NESTED_TEST_PAGES);

	/* The root has to be aligned to its size */
	tables = vm_alloc(vm, ROOT_SIZE * 2 + NESTED_NR_TABLES * 4096, KVM_UTIL_MIN_VADDR);
	while (addr_gva2gpa(vm, tables) % ROOT_SIZE)
		tables += 4096;

	pgt.mem = addr_gva2hva(vm, tables);
	pgt.gpa = addr_gva2gpa(vm, tables);
	pgt.next = ROOT_SIZE;

	/* Everything but the test memory, of which each test maps what it likes */
	for (page = sparsebit_first_set(vm->vpages_mapped); page;
	     page = sparsebit_next_set(vm->vpages_mapped, page)) {
		if (page >= NESTED_L2_ADDR >> 12)
			break;
		nested_map(&pgt, page << 12, addr_gva2gpa(vm, page << 12), 0,
			   NESTED_PTE_RWX);
	}

	pgt.mem = (void *)tables;
	l1_pgt = addr_gva2hva(vm, (gva_t)&nested_pgt);
	*l1_pgt = pgt;

	return vm;
}

u64 nested_hgatp(u64 vmid)
{
	return HGATP_MODE_SV39X4 << HGATP_MODE_SHIFT | vmid << HGATP_VMID_SHIFT |
	       nested_pgt.gpa >> 12;
}

/**
 * nested_init - prepare to enter a function as L2
 * @ctx: register state
 * @l2_code: function to start at, in VS-mode; must not return
 */
void nested_init(struct nested_ctx *ctx, void (*l2_code)(void))
{
	memset(ctx, 0, sizeof(*ctx));
	ctx->sepc = (u64)l2_code;
	ctx->x[2] = (u64)l2_stack + sizeof(l2_stack);
	asm volatile("mv %0, gp" : "=r" (ctx->x[3]));
	ctx->hstatus = HSTATUS_SPV | HSTATUS_SPVP;
	ctx->sstatus = csr_read(CSR_SSTATUS) | SR_SPP | SR_SPIE;

	csr_write(CSR_HGATP, nested_hgatp(1));
	nested_hfence_gvma();
}

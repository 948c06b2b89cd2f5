// SPDX-License-Identifier: GPL-2.0
/*
 * The registers of a vCPU as a whole: KVM_GET_REG_LIST and the config registers.
 *
 * A VMM saves and restores a vCPU by the list.  So it must have each register
 * once that can be read, none that cannot, follow the extensions of the vCPU,
 * and what was read must be accepted when it is written back.  isa_ext_test
 * has the details of the ISA extension registers.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kvm_util.h"
#include "kselftest.h"
#include "processor.h"
#include "test_util.h"
#include "ucall_common.h"

/* As documented, never to change: types, sizes, and numbers of registers */
static const struct {
	const char *name;
	uint64_t type;
	unsigned int nr;
} fixed[] = {
	{ "core", 0x02000000, 33 },
	{ "CSR", 0x03000000, 11 },
	{ "timer", 0x04000000, 4 },
};

#define TYPE_CONFIG		0x01000000
#define TYPE_FP_F		0x05000000
#define TYPE_FP_D		0x06000000
#define TYPE_ISA_EXT		0x07000000
#define NR_FP			33
#define NR_CONFIG		8

/* More than there are of anything, so that those behind the end are tried */
#define MAX_TYPE		12
#define MAX_INDEX		256

static const uint64_t sizes[] = { KVM_REG_SIZE_U32, KVM_REG_SIZE_U64 };

static bool failed;

static void fail(const char *what, uint64_t id, long val)
{
	ksft_print_msg("%#lx: %s (%ld)\n", id, what, val);
	failed = true;
}

static unsigned int times_listed(const struct kvm_reg_list *list, uint64_t id)
{
	unsigned int i, times = 0;

	for (i = 0; i < list->n; i++)
		times += list->reg[i] == id;

	return times;
}

static unsigned int nr_listed(const struct kvm_reg_list *list, uint64_t type)
{
	unsigned int i, nr = 0;

	for (i = 0; i < list->n; i++)
		nr += (list->reg[i] & KVM_REG_RISCV_TYPE_MASK) == type;

	return nr;
}

/* Try all that may be a register: those that can be read are listed */
static void check_complete(struct kvm_vcpu *vcpu, const struct kvm_reg_list *list)
{
	unsigned int type, i, s, listed, total = 0;
	unsigned long val;
	uint64_t id;
	int ret;

	for (type = 0; type < MAX_TYPE; type++) {
		for (i = 0; i < MAX_INDEX * ARRAY_SIZE(sizes); i++) {
			s = i % ARRAY_SIZE(sizes);
			id = KVM_REG_RISCV | sizes[s] | (uint64_t)type << 24 |
			     i / ARRAY_SIZE(sizes);
			ret = __vcpu_get_reg(vcpu, id, &val) ? errno : 0;
			listed = times_listed(list, id);
			if (listed != !ret)
				fail(listed ? "listed, get fails" :
				     "get works, not listed", id, ret);
			if (ret && ret != ENOENT && ret != EINVAL)
				fail("unexpected error of get", id, ret);
			total += listed;
		}
	}
	if (total != list->n)
		fail("registers that are listed twice, or unknown", 0,
		     (long)list->n - total);
}

/* The state of the timer can be set to "on" only */
static bool restorable(uint64_t id)
{
	return id != RISCV_TIMER_REG(state);
}

static void check_write_back(struct kvm_vcpu *vcpu,
			     const struct kvm_reg_list *list)
{
	struct kvm_one_reg reg;
	unsigned long val;
	unsigned int i;

	reg.addr = (unsigned long)&val;
	for (i = 0; i < list->n; i++) {
		reg.id = list->reg[i];
		val = 0;
		if (__vcpu_ioctl(vcpu, KVM_GET_ONE_REG, &reg))
			fail("get fails", reg.id, errno);
		else if (restorable(reg.id) &&
			 __vcpu_ioctl(vcpu, KVM_SET_ONE_REG, &reg))
			fail("set to the same fails", reg.id, errno);
	}
}

static void check_number(const struct kvm_reg_list *list, const char *name,
			 uint64_t type, unsigned int want)
{
	unsigned int nr = nr_listed(list, type);

	if (nr == want)
		return;
	ksft_print_msg("%u %s registers, should be %u\n", nr, name, want);
	failed = true;
}

static void check_list(struct kvm_vcpu *vcpu)
{
	const struct {
		uint64_t id, ext;
	} sizes_of[] = {
		{ RISCV_CONFIG_REG(zicbom_block_size), KVM_RISCV_ISA_EXT_ZICBOM },
		{ RISCV_CONFIG_REG(zicbop_block_size), KVM_RISCV_ISA_EXT_ZICBOP },
		{ RISCV_CONFIG_REG(zicboz_block_size), KVM_RISCV_ISA_EXT_ZICBOZ },
	};
	struct kvm_reg_list *list = vcpu_get_reg_list(vcpu);
	unsigned int i, nr_config = NR_CONFIG;
	bool has;

	check_complete(vcpu, list);
	check_write_back(vcpu, list);
	for (i = 0; i < ARRAY_SIZE(fixed); i++)
		check_number(list, fixed[i].name, fixed[i].type, fixed[i].nr);
	check_number(list, "F", TYPE_FP_F,
		     __vcpu_has_isa_ext(vcpu, KVM_RISCV_ISA_EXT_F) ? NR_FP : 0);
	check_number(list, "D", TYPE_FP_D,
		     __vcpu_has_isa_ext(vcpu, KVM_RISCV_ISA_EXT_D) ? NR_FP : 0);
	for (i = 0; i < ARRAY_SIZE(sizes_of); i++) {
		has = __vcpu_has_isa_ext(vcpu, sizes_of[i].ext);
		nr_config -= !has;
		if (times_listed(list, sizes_of[i].id) != has)
			fail("block size is there without its extension, or the reverse",
			     sizes_of[i].id, has);
	}
	check_number(list, "config", TYPE_CONFIG, nr_config);
	free(list);
}

/* The list of vCPUs from which extensions have been taken */
static const struct {
	const char *name;
	unsigned int off[2];		/* ID + 1, or 0 */
} configs[] = {
	{ "all extensions" },
	{ "no D", { KVM_RISCV_ISA_EXT_D + 1 } },
	{ "no F and D", { KVM_RISCV_ISA_EXT_D + 1, KVM_RISCV_ISA_EXT_F + 1 } },
	{ "no Zicbom", { KVM_RISCV_ISA_EXT_ZICBOM + 1 } },
	{ "no Zicboz", { KVM_RISCV_ISA_EXT_ZICBOZ + 1 } },
	{ "no Svpbmt", { KVM_RISCV_ISA_EXT_SVPBMT + 1 } },
};

static void guest_code(void)
{
	GUEST_DONE();
}

static void test_config(unsigned int config)
{
	const unsigned int *off = configs[config].off;
	struct kvm_vcpu *vcpu;
	unsigned int i, nr_exts;
	struct kvm_reg_list *list;
	struct kvm_vm *vm;

	vm = vm_create_with_one_vcpu(&vcpu, guest_code);
	list = vcpu_get_reg_list(vcpu);
	nr_exts = nr_listed(list, TYPE_ISA_EXT);
	free(list);
	for (i = 0; i < 2 && off[i]; i++) {
		if (!__vcpu_has_isa_ext(vcpu, off[i] - 1)) {
			ksft_test_result_skip("list, %s: the host does not have it\n",
					      configs[config].name);
			goto out;
		}
		vcpu_set_reg(vcpu, RISCV_ISA_EXT_REG(off[i] - 1), 0);
	}

	failed = false;
	check_list(vcpu);
	list = vcpu_get_reg_list(vcpu);
	check_number(list, "ISA extension", TYPE_ISA_EXT, nr_exts);
	free(list);
	vcpu_run(vcpu);
	TEST_ASSERT_EQ(get_ucall(vcpu, NULL), UCALL_DONE);
	check_list(vcpu);
	ksft_test_result(!failed, "list, %s\n", configs[config].name);
out:
	kvm_vm_free(vm);
}

static void test_errors(void)
{
	struct kvm_reg_list none = { .n = 0 }, *list;
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm;
	uint64_t last;

	failed = false;
	vm = vm_create_with_one_vcpu(&vcpu, guest_code);
	if (!__vcpu_ioctl(vcpu, KVM_GET_REG_LIST, &none) || errno != E2BIG)
		fail("error of no room", 0, errno);
	if (!__vcpu_ioctl(vcpu, KVM_GET_REG_LIST,
			  (struct kvm_reg_list *)1) || errno != EFAULT)
		fail("error of a bad address", 0, errno);

	/* With room for one too few, the number comes back and no ID */
	list = calloc(1, sizeof(*list) + none.n * sizeof(list->reg[0]));
	list->n = none.n - 1;
	if (!__vcpu_ioctl(vcpu, KVM_GET_REG_LIST, list) || errno != E2BIG)
		fail("error of too little room", 0, errno);
	if (list->n != none.n || list->reg[0])
		fail("list despite too little room", list->reg[0], list->n);

	/* With more room than needed, nothing is written behind the list */
	list = realloc(list, sizeof(*list) + (none.n + 1) * sizeof(list->reg[0]));
	last = 0x1234;
	list->reg[none.n] = last;
	list->n = none.n + 1;
	if (__vcpu_ioctl(vcpu, KVM_GET_REG_LIST, list))
		fail("list with room to spare", 0, errno);
	if (list->n != none.n || list->reg[none.n] != last)
		fail("written behind the list", list->reg[none.n], list->n);
	free(list);
	ksft_test_result(!failed, "errors of KVM_GET_REG_LIST\n");
	kvm_vm_free(vm);
}

/* SBI tells the guest what userspace has set */

#define SBI_GET_MVENDORID	4

static void guest_ids(void)
{
	unsigned long id[3], i;

	for (i = 0; i < 3; i++)
		id[i] = sbi_ecall(SBI_EXT_BASE, SBI_GET_MVENDORID + i,
				  0, 0, 0, 0, 0, 0).value;
	GUEST_SYNC3(id[0], id[1], id[2]);
}

static void test_machine_ids(void)
{
	const uint64_t regs[] = {
		RISCV_CONFIG_REG(mvendorid), RISCV_CONFIG_REG(marchid),
		RISCV_CONFIG_REG(mimpid),
	};
	struct kvm_vcpu *vcpu;
	unsigned long val;
	struct kvm_vm *vm;
	struct ucall uc;
	unsigned int i;

	failed = false;
	vm = vm_create_with_one_vcpu(&vcpu, guest_ids);
	for (i = 0; i < 3; i++)
		vcpu_set_reg(vcpu, regs[i], 0x1000 + i);
	vcpu_run(vcpu);
	TEST_ASSERT_EQ(get_ucall(vcpu, &uc), UCALL_SYNC);
	for (i = 0; i < 3; i++) {
		if (uc.args[i] != 0x1000 + i)
			fail("the guest sees something else", regs[i], uc.args[i]);
		vcpu_get_reg(vcpu, regs[i], &val);
		if (val != 0x1000 + i)
			fail("reads as something else", regs[i], val);
		if (__vcpu_set_reg(vcpu, regs[i], val))
			fail("set to the same after run", regs[i], errno);
		if (!__vcpu_set_reg(vcpu, regs[i], 0) || errno != EBUSY)
			fail("set to another after run", regs[i], errno);
	}
	ksft_test_result(!failed, "machine IDs\n");
	kvm_vm_free(vm);
}

static void guest_satp_mode(void)
{
	GUEST_SYNC1(csr_read(CSR_SATP) >> 60);
}

static void test_satp_mode(void)
{
	struct kvm_vcpu *vcpu;
	unsigned long mode;
	struct kvm_vm *vm;
	struct ucall uc;

	failed = false;
	vm = vm_create_with_one_vcpu(&vcpu, guest_satp_mode);
	vcpu_get_reg(vcpu, RISCV_CONFIG_REG(satp_mode), &mode);
	vcpu_run(vcpu);
	TEST_ASSERT_EQ(get_ucall(vcpu, &uc), UCALL_SYNC);
	/* Modes are numbered by size: the guest of this test can use its own */
	if (mode < uc.args[0] || mode > 10)
		fail("impossible mode", RISCV_CONFIG_REG(satp_mode), mode);
	if (!__vcpu_set_reg(vcpu, RISCV_CONFIG_REG(satp_mode), mode - 1) ||
	    errno != EINVAL)
		fail("error of set to another", RISCV_CONFIG_REG(satp_mode), errno);
	ksft_test_result(!failed, "satp mode\n");
	kvm_vm_free(vm);
}

int main(void)
{
	unsigned int i;

	ksft_print_header();
	ksft_set_plan(ARRAY_SIZE(configs) + 3);
	for (i = 0; i < ARRAY_SIZE(configs); i++)
		test_config(i);
	test_errors();
	test_machine_ids();
	test_satp_mode();
	ksft_finished();
}

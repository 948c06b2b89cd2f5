// SPDX-License-Identifier: GPL-2.0-only
/*
 * Nested virtualization: save a vCPU while it runs L2, restore it in a new VM,
 * and go on.
 *
 * L2 leaves to userspace by a store to a device that L1 gave it. Every time it
 * does, the vCPU is saved and restored.
 */
#include <errno.h>
#include <signal.h>
#include <sys/time.h>

#include "kvm_util.h"
#include "processor.h"
#include "nested.h"
#include "ucall_common.h"
#include "kselftest.h"

#define ROUNDS		40
#define L2_DEVICE	(NESTED_L2_ADDR + 0x10000000)
#define VS_IRQS		(BIT(2) | BIT(6) | BIT(10))
#define HTIMEDELTA	BIT(42)

static struct nested_ctx ctx;

asm(".option push\n"
	".option norvc\n"
	".balign 4\n"
	"l2_trap_entry:\n"
	"ecall\n"
	"j .\n"
	".option pop\n");

extern char l2_trap_entry[];

/* Everything that has to survive: registers, sscratch, stvec, FP, time, sie */
static void l2_code(void)
{
	u32 *dev = (u32 *)L2_DEVICE;
	u64 i, sum = 0, last, t;

	csr_write(CSR_STVEC, l2_trap_entry);
	csr_write(CSR_SSCRATCH, 0x1234567890abcdefUL);
	csr_write(CSR_SIE, BIT(1));
	csr_set(CSR_SSTATUS, SR_FS);
	asm volatile(".option push\n.option arch, +d\n"
		     "fmv.d.x f9, %0\n.option pop" :: "r" (0x4045000000000000UL));
	last = csr_read(CSR_TIME);
	for (i = 0; i < ROUNDS; i++) {
		WRITE_ONCE(*dev, i);
		sum += i;
		t = csr_read(CSR_TIME);
		if (t < last || t < HTIMEDELTA)
			nested_l2_call(0xbad1);
		last = t;
		if (csr_read(CSR_SSCRATCH) != 0x1234567890abcdefUL)
			nested_l2_call(0xbad2);
		if (csr_read(CSR_SIE) != BIT(1))
			nested_l2_call(0xbad3);
	}
	asm volatile(".option push\n.option arch, +d\n"
		     "fmv.x.d %0, f9\n.option pop" : "=r" (t));
	if (t != 0x4045000000000000UL)
		nested_l2_call(0xbad4);
	nested_l2_call(sum);
	/* Now an interrupt that L1 injected before the last save */
	csr_set(CSR_SSTATUS, SR_SIE);
	nested_l2_call(0xbad5);
}

static void l1_code(void)
{
	u64 scratch;

	nested_init(&ctx, l2_code);
	/* FP has to be on for L1, too */
	ctx.sstatus |= SR_FS_INITIAL;
	nested_map(&nested_pgt, L2_DEVICE, NESTED_MMIO_GPA, 0, NESTED_PTE_RWX);
	csr_write(CSR_HIDELEG, VS_IRQS);
	csr_write(CSR_HIE, 0);
	csr_write(CSR_HCOUNTEREN, 2);
	csr_write(CSR_HTIMEDELTA, HTIMEDELTA);
	csr_write(CSR_HEDELEG, BIT(3));
	csr_write(CSR_HVIP, BIT(2));
	scratch = csr_read(CSR_SSCRATCH);

	nested_run(&ctx);
	GUEST_ASSERT_EQ(ctx.scause, 10);
	GUEST_ASSERT_EQ(ctx.x[10], ROUNDS * (ROUNDS - 1) / 2);
	GUEST_ASSERT_EQ(csr_read(CSR_SSCRATCH), scratch);
	GUEST_ASSERT_EQ(csr_read(CSR_HEDELEG), BIT(3));
	GUEST_ASSERT_EQ(csr_read(CSR_HIDELEG), VS_IRQS);
	GUEST_ASSERT_EQ(csr_read(CSR_HTIMEDELTA), HTIMEDELTA);
	GUEST_ASSERT_EQ(csr_read(CSR_HIE), BIT(2));
	GUEST_ASSERT_EQ(csr_read(CSR_HVIP), BIT(2));
	GUEST_ASSERT_EQ(csr_read(CSR_VSSCRATCH), 0x1234567890abcdefUL);

	ctx.sepc += 4;
	nested_run(&ctx);
	GUEST_ASSERT_EQ(ctx.scause, 10);
	GUEST_ASSERT_EQ(csr_read(CSR_VSCAUSE), BIT(63) | 1);
	GUEST_DONE();
}

struct saved_reg {
	u64 id;
	union {
		u64 val;
		u8 bytes[256];
	};
};

struct saved {
	u64 n;
	struct saved_reg *regs;
};

static void save(struct kvm_vcpu *vcpu, struct saved *s)
{
	struct kvm_reg_list *list = vcpu_get_reg_list(vcpu);
	int i;

	s->n = list->n;
	s->regs = calloc(s->n, sizeof(*s->regs));
	for (i = 0; i < s->n; i++) {
		struct kvm_one_reg reg = {
			.id = list->reg[i],
			.addr = (unsigned long)s->regs[i].bytes,
		};

		TEST_ASSERT((1UL << ((reg.id & KVM_REG_SIZE_MASK) >> KVM_REG_SIZE_SHIFT)) <=
			    sizeof(s->regs[i].bytes), "register too large");
		s->regs[i].id = reg.id;
		vcpu_ioctl(vcpu, KVM_GET_ONE_REG, &reg);
	}
	free(list);
}

static void restore(struct kvm_vcpu *vcpu, struct saved *s)
{
	int i, ret;

	for (i = 0; i < s->n; i++) {
		struct kvm_one_reg reg = {
			.id = s->regs[i].id,
			.addr = (unsigned long)s->regs[i].bytes,
		};

		ret = __vcpu_ioctl(vcpu, KVM_SET_ONE_REG, &reg);
		/* A timer that is off cannot be switched off */
		if (reg.id == RISCV_TIMER_REG(state))
			continue;
		TEST_ASSERT(!ret, "register %llx: %s", reg.id, strerror(errno));
	}
	free(s->regs);
}

static u64 reg_core_virt(struct kvm_vcpu *vcpu)
{
	return vcpu_get_reg(vcpu, RISCV_CORE_REG(virt));
}

/* --- At random points ---------------------------------------------------- */

#define RANDOM_SAVES	50

static u64 stop;

static u64 lcg(u64 h)
{
	int i;

	for (i = 0; i < 500; i++)
		h = h * 6364136223846793005UL + 1442695040888963407UL;

	return h;
}

static void l2_random(void)
{
	u64 h = 1;

	csr_write(CSR_SSCRATCH, 0x5555);
	for (;;) {
		h = lcg(h);
		nested_l2_call(csr_read(CSR_SSCRATCH) == 0x5555 ? h : 0xbad);
	}
}

/* Both levels compute the same; whatever gets lost or mixed up shows */
static void l1_random(void)
{
	u64 h = 1, scratch = csr_read(CSR_SSCRATCH);

	nested_init(&ctx, l2_random);
	while (!READ_ONCE(stop)) {
		nested_run(&ctx);
		GUEST_ASSERT_EQ(ctx.scause, 10);
		h = lcg(h);
		GUEST_ASSERT_EQ(ctx.x[10], h);
		GUEST_ASSERT_EQ(csr_read(CSR_SSCRATCH), scratch);
		GUEST_ASSERT_EQ(csr_read(CSR_VSSCRATCH), 0x5555);
		ctx.sepc += 4;
	}
	GUEST_DONE();
}

static void on_alarm(int sig)
{
}

static void alarm_soon(void)
{
	/* Again if KVM_RUN was not reached the first time */
	struct itimerval it = {
		.it_value.tv_usec = 500 + rand() % 8000,
		.it_interval.tv_usec = 50000,
	};

	setitimer(ITIMER_REAL, &it, NULL);
}

static bool test_random(int *in_l1, int *in_l2)
{
	struct kvm_mp_state mps = { .mp_state = KVM_MP_STATE_RUNNABLE };
	struct sigaction sa = { .sa_handler = on_alarm };
	struct itimerval off = { 0 };
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm = nested_vm_create(&vcpu, l1_random, VM_MEM_SRC_ANONYMOUS);
	struct saved s;
	struct ucall uc;
	bool pass;

	sigaction(SIGALRM, &sa, NULL);
	for (;;) {
		alarm_soon();
		if (!__vcpu_run(vcpu))
			break;
		TEST_ASSERT(errno == EINTR, "KVM_RUN: %s", strerror(errno));

		if (reg_core_virt(vcpu) == KVM_RISCV_VIRT_ON)
			(*in_l2)++;
		else
			(*in_l1)++;
		if (*in_l1 + *in_l2 == RANDOM_SAVES)
			*(u64 *)addr_gva2hva(vm, (gva_t)&stop) = 1;

		/* It is for KVM_RUN; making a VM would fail with EINTR, too */
		setitimer(ITIMER_REAL, &off, NULL);
		save(vcpu, &s);
		kvm_vm_release(vm);
		vcpu = vm_recreate_with_one_vcpu(vm);
		vcpu_ioctl(vcpu, KVM_SET_MP_STATE, &mps);
		restore(vcpu, &s);
	}
	pass = get_ucall(vcpu, &uc) == UCALL_DONE;
	if (uc.cmd == UCALL_ABORT)
		ksft_print_msg("%s at %s:%ld\n", uc.buffer, (const char *)uc.args[GUEST_FILE],
			       uc.args[GUEST_LINE]);
	kvm_vm_free(vm);

	return pass;
}

int main(void)
{
	int in_l1 = 0, in_l2 = 0;
	struct kvm_mp_state mps = { .mp_state = KVM_MP_STATE_RUNNABLE };
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm;
	bool pass = false;
	struct saved s;
	struct ucall uc;
	int saves = 0;

	ksft_print_header();
	if (!nested_supported())
		ksft_exit_skip("KVM does not offer the H extension, see kvm.nested\n");
	ksft_set_plan(6);

	vm = nested_vm_create(&vcpu, l1_code, VM_MEM_SRC_ANONYMOUS);
	ksft_test_result(reg_core_virt(vcpu) == KVM_RISCV_VIRT_OFF, "virt is off at reset\n");

	/* Values that no L1 can have are refused and change nothing */
	ksft_test_result(__vcpu_set_reg(vcpu, RISCV_CORE_REG(virt), 2) &&
			 errno == EINVAL &&
			 __vcpu_set_reg(vcpu, __kvm_reg_id(KVM_REG_RISCV_CSR,
							   KVM_REG_RISCV_CSR_HEXT,
							   KVM_REG_RISCV_CSR_HEXT_REG(hedeleg),
							   KVM_REG_SIZE_ULONG), BIT(10)) &&
			 errno == EINVAL &&
			 vcpu_get_reg(vcpu, __kvm_reg_id(KVM_REG_RISCV_CSR,
							 KVM_REG_RISCV_CSR_HEXT,
							 KVM_REG_RISCV_CSR_HEXT_REG(hedeleg),
							 KVM_REG_SIZE_ULONG)) == 0,
			 "impossible values are refused\n");

	for (;;) {
		vcpu_run(vcpu);
		if (vcpu->run->exit_reason == KVM_EXIT_MMIO) {
			TEST_ASSERT(reg_core_virt(vcpu) == KVM_RISCV_VIRT_ON,
				    "MMIO of L2 with virt off");
			/* The store is complete only after the next entry */
			vcpu_run_complete_io(vcpu);
			save(vcpu, &s);
			kvm_vm_release(vm);
			vcpu = vm_recreate_with_one_vcpu(vm);
			vcpu_ioctl(vcpu, KVM_SET_MP_STATE, &mps);
			restore(vcpu, &s);
			saves++;
			continue;
		}
		switch (get_ucall(vcpu, &uc)) {
		case UCALL_DONE:
			pass = true;
			break;
		case UCALL_ABORT:
			ksft_print_msg("%s at %s:%ld\n", uc.buffer,
				       (const char *)uc.args[GUEST_FILE],
				       uc.args[GUEST_LINE]);
			break;
		default:
			ksft_print_msg("exit reason %d\n", vcpu->run->exit_reason);
			break;
		}
		break;
	}
	ksft_test_result(saves == ROUNDS, "saved %d times in L2\n", saves);
	ksft_test_result(pass, "L1 and L2 did not notice\n");
	kvm_vm_free(vm);

	pass = test_random(&in_l1, &in_l2);
	ksft_test_result(in_l1 && in_l2, "saved at random points, %d times in L1 and %d in L2\n",
			 in_l1, in_l2);
	ksft_test_result(pass, "L1 and L2 did not notice that\n");
	ksft_finished();
}

#include "core/communicator.h"

#include <cstring>
#include <numeric>

#include "tests/mpi/world.h"
#include "tests/support/tensors.h"

using namespace segrt;

namespace {
// What rank r holds at i: numbers whose sum depends on the order of summation.
double part(int rank, int64_t i) { return (rank % 2 == 0 ? 1 : -1) * (1e3 + rank) / (3.0 + static_cast<double>(i)); }

Tensor parts(int64_t count, DType dtype, int rank, Device& device) {
  std::vector<double> values(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i) values[static_cast<size_t>(i)] = part(rank, i);
  return test::from_doubles({count}, values, dtype, device);
}

// All processes hold the same bits.
void check_equal_everywhere(const Tensor& t) {
  Communicator& world = test::world();
  const std::unique_ptr<Device> cpu = Device::create("cpu");
  const Tensor mine = t.to(*cpu).reshape({t.numel()});
  const Tensor all = Tensor::empty({world.size(), t.numel()}, t.dtype(), *cpu);
  world.all_gather(mine, all);
  for (int r = 0; r < world.size(); ++r) CHECK(std::memcmp(all.slice(r, 1).raw(), mine.raw(), mine.nbytes()) == 0);
}
}  // namespace

TEST_CASE("all_reduce sums over the processes, with the same bits everywhere, in every type and size") {
  Communicator& world = test::world();
  for (const auto& device : test::test_devices())
    for (const DType dtype : {DType::f32, DType::f64, DType::bf16, DType::f16})
      for (const int64_t count : {1, 7, 100, 40001}) {  // in one message, and in shares that are not equal
        if (dtype == DType::f64 && !device->is_cpu()) continue;
        CAPTURE(device->name());
        CAPTURE(to_string(dtype));
        CAPTURE(count);
        const Tensor t = parts(count, dtype, world.rank(), *device);
        std::vector<double> expected(static_cast<size_t>(count));
        for (int r = 0; r < world.size(); ++r) {
          const std::vector<double> values = test::to_doubles(parts(count, dtype, r, *device));
          for (size_t i = 0; i < values.size(); ++i) expected[i] += values[i];
        }
        world.all_reduce(t);
        // One rounding of a sum of terms as large as 1e3.
        const double bound = 1003.0 * world.size() * test::tolerance(dtype, 1);
        const std::vector<double> sums = test::to_doubles(t);
        double worst = 0;
        for (size_t i = 0; i < sums.size(); ++i) worst = std::max(worst, std::abs(sums[i] - expected[i]));
        CHECK(worst <= bound);
        check_equal_everywhere(t);
      }
}

TEST_CASE("all_reduce of integers is exact") {
  Communicator& world = test::world();
  const auto cpu = Device::create("cpu");
  const int64_t big = int64_t{1} << 60;
  const Tensor t = Tensor::from<int64_t>({2}, std::vector<int64_t>{big / world.size() + world.rank(), -1}, *cpu);
  world.all_reduce(t);
  const int64_t ranks = world.size();
  CHECK(t.to_vector<int64_t>() == std::vector<int64_t>{big / ranks * ranks + ranks * (ranks - 1) / 2, -ranks});
}

TEST_CASE("operations that are under way keep their order, and others of a duplicate do not wait for them") {
  Communicator& world = test::world();
  const auto duplicate = world.duplicate();
  const auto cpu = Device::create("cpu");
  std::vector<Tensor> tensors;
  std::vector<Communication> pending;
  for (int k = 0; k < 8; ++k) {
    tensors.push_back(Tensor::from<float>({50000}, std::vector<float>(50000, static_cast<float>(k + 1)), *cpu));
    pending.push_back(world.all_reduce_async(tensors.back()));
    const std::vector<int64_t> ranks = duplicate->all_gather(world.rank() + 10 * k);  // overtakes
    for (int r = 0; r < world.size(); ++r) CHECK(ranks[static_cast<size_t>(r)] == r + 10 * k);
  }
  world.barrier();  // behind them
  for (size_t k = 0; k < 8; ++k) {
    pending[k].wait();
    CHECK_FALSE(pending[k].pending());
    const std::vector<float> values = tensors[k].to_vector<float>();
    CHECK(values.front() == static_cast<float>(k + 1) * static_cast<float>(world.size()));
    CHECK(values.back() == values.front());
  }
}

TEST_CASE("broadcast gives everybody what one has, and says so to caches") {
  Communicator& world = test::world();
  for (const auto& device : test::test_devices())
    for (int root = 0; root < world.size(); ++root) {
      const Tensor t = parts(33, DType::f32, world.rank(), *device);
      const uint64_t version = t.version();
      world.broadcast(t, root);
      CHECK(test::to_doubles(t) == test::to_doubles(parts(33, DType::f32, root, *device)));
      CHECK((t.version() != version) == (world.rank() != root));
    }
}

TEST_CASE("all_gather: a row a process") {
  Communicator& world = test::world();
  for (const auto& device : test::test_devices()) {
    const Tensor all = test::filled_with_nan({world.size(), 5}, DType::f32, *device);
    world.all_gather(parts(5, DType::f32, world.rank(), *device), all);
    for (int r = 0; r < world.size(); ++r)
      CHECK(test::to_doubles(all.slice(r, 1)) == test::to_doubles(parts(5, DType::f32, r, *device)));
  }
}

TEST_CASE("several tensors travel in one message, with the bits of a message each") {
  Communicator& world = test::world();
  for (const auto& device : test::test_devices())
    for (const DType dtype : {DType::f32, DType::f64, DType::bf16}) {
      if (dtype == DType::f64 && !device->is_cpu()) continue;
      CAPTURE(device->name());
      CAPTURE(to_string(dtype));
      const std::vector<int64_t> counts{5, 1, 40001, 0, 19};
      std::vector<Tensor> one, together;
      std::vector<Communicator::Gathered> gathered;
      for (const int64_t count : counts) {
        one.push_back(parts(count, dtype, world.rank(), *device));
        together.push_back(parts(count, dtype, world.rank(), *device));
        gathered.push_back(
            {parts(count, dtype, world.rank(), *device), test::filled_with_nan({world.size(), count}, dtype, *device)});
      }
      const uint64_t version = together[0].version();
      world.start_recording();
      world.all_reduce(together);
      world.all_gather(gathered);
      const std::vector<CommunicationSpan> messages = world.stop_recording();
      for (const Tensor& t : one) world.all_reduce(t);
      for (size_t i = 0; i < counts.size(); ++i) {
        CHECK(test::to_doubles(together[i]) == test::to_doubles(one[i]));
        for (int r = 0; r < world.size(); ++r)
          CHECK(test::to_doubles(gathered[i].all.slice(r, 1)) == test::to_doubles(parts(counts[i], dtype, r, *device)));
      }
      if (world.size() == 1) {
        CHECK(messages.empty());
        continue;
      }
      CHECK(together[0].version() != version);
      REQUIRE(messages.size() == 2);
      CHECK(messages[0].name == "all_reduce");
      CHECK(messages[1].name == "all_gather");
      for (const CommunicationSpan& m : messages) CHECK(m.bytes == 40026 * static_cast<int64_t>(size_of(dtype)));
    }
  const auto cpu = Device::create("cpu");
  CHECK_THROWS_WITH_AS(
      world.all_reduce(std::vector<Tensor>{Tensor::zeros({2}, DType::f32, *cpu), Tensor::zeros({2}, DType::f64, *cpu)}),
      "all_reduce: tensors: expected one type and device, got f32 [2] on cpu and f64 [2] on cpu", ArgumentError);
}

TEST_CASE("a recording has the operations between its ends, with times in their order") {
  Communicator& world = test::world();
  const auto cpu = Device::create("cpu");
  const Tensor t = Tensor::zeros({30000}, DType::f32, *cpu);
  world.all_reduce(t);
  world.start_recording();
  std::vector<Communication> pending;
  for (const char* name : {"first", "second"}) pending.push_back(world.all_reduce_async(t, name));
  for (Communication& c : pending) c.wait();
  world.broadcast(t, 0);
  world.barrier();
  const std::vector<CommunicationSpan> spans = world.stop_recording();
  world.all_reduce(t);
  CHECK(world.stop_recording().empty());
  if (world.size() == 1) {
    CHECK(spans.empty());
    return;
  }
  REQUIRE(spans.size() == 4);
  const std::vector<std::string> names{"first", "second", "broadcast", "barrier"};
  for (size_t i = 0; i < 4; ++i) {
    CHECK(spans[i].name == names[i]);
    CHECK(spans[i].bytes == (i < 3 ? 120000 : 0));
    CHECK(spans[i].queued_ms >= 0);
    CHECK(spans[i].start_ms >= spans[i].queued_ms);
    CHECK(spans[i].end_ms >= spans[i].start_ms);
    if (i > 0) CHECK(spans[i].start_ms >= spans[i - 1].end_ms);  // one after another
  }
}

TEST_CASE("a communicator refuses what it cannot do") {
  Communicator& world = test::world();
  const auto cpu = Device::create("cpu");
  CHECK_THROWS_WITH_AS(world.all_reduce(Tensor::zeros({2}, DType::u8, *cpu)),
                       "all_reduce: t: expected f32, f64, i64, bf16 or f16, got u8 [2] on cpu", ArgumentError);
  CHECK_THROWS_AS(world.broadcast(Tensor::zeros({2}, DType::f32, *cpu), world.size()), ArgumentError);
  CHECK_THROWS_AS(
      world.all_gather(Tensor::zeros({2}, DType::f32, *cpu), Tensor::zeros({2 * world.size() + 1}, DType::f32, *cpu)),
      ArgumentError);
}

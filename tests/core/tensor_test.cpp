#include "core/tensor.h"

#include <doctest/doctest.h>

#include <cstdint>
#include <limits>
#include <numeric>

#include "core/error.h"
#include "tests/core/message_of.h"
#include "tests/support/tensors.h"

using namespace segrt;

namespace {
std::vector<float> counting(int64_t count) {
  std::vector<float> values(static_cast<size_t>(count));
  std::iota(values.begin(), values.end(), 1.0f);
  return values;
}
}  // namespace

TEST_CASE("tensor: values go to every device and come back") {
  for (auto& device : test::test_devices()) {
    CAPTURE(device->name());
    for (const Shape& shape : {Shape{}, Shape{1}, Shape{0}, Shape{3, 0, 2}, Shape{2, 3, 5, 7}, Shape{700001}}) {
      CAPTURE(shape);
      const Tensor t = Tensor::from(shape, counting(shape.numel()), *device);
      CHECK(t.shape() == shape);
      CHECK(t.dtype() == DType::f32);
      CHECK(&t.device() == device.get());
      CHECK(t.nbytes() == static_cast<size_t>(shape.numel()) * 4);
      CHECK(t.to_vector<float>() == counting(shape.numel()));
    }
    CHECK(Tensor::zeros({5, 3}, DType::i32, *device).to_vector<int32_t>() == std::vector<int32_t>(15, 0));
    const Tensor a = Tensor::from({2}, counting(2), *device);
    CHECK(Tensor::zeros_like(a).to_vector<float>() == std::vector<float>{0, 0});
    CHECK(Tensor::like(a).shape() == a.shape());
  }
}

TEST_CASE("tensor: memory is aligned") {
  for (auto& device : test::test_devices()) {
    const uintptr_t alignment = device->is_cuda() ? 256 : 64;
    for (const int64_t n : {1, 3, 17, 1000003}) {
      const Tensor t = Tensor::empty({n}, DType::u8, *device);
      CHECK(reinterpret_cast<uintptr_t>(t.raw()) % alignment == 0);
    }
  }
}

TEST_CASE("tensor: views share storage, clones do not") {
  for (auto& device : test::test_devices()) {
    CAPTURE(device->name());
    const Tensor t = Tensor::from({4, 3, 2}, counting(24), *device);
    const Tensor rows = t.slice(1, 2);
    CHECK(rows.shape() == Shape{2, 3, 2});
    CHECK(rows.shares_storage(t));
    CHECK(rows.storage_id() == t.storage_id());
    CHECK(rows.to_vector<float>() == std::vector<float>{7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18});
    const Tensor inner = rows.slice(1, 1).reshape({6}).slice(2, 3);  // offsets add up
    CHECK(inner.to_vector<float>() == std::vector<float>{15, 16, 17});
    Tensor middle = inner;
    middle.fill_zero();
    CHECK(t.to_vector<float>()[13] == 14);
    CHECK(t.to_vector<float>()[14] == 0);
    CHECK(t.to_vector<float>()[16] == 0);
    CHECK(t.to_vector<float>()[17] == 18);

    const Tensor copy = rows.clone();
    CHECK_FALSE(copy.shares_storage(t));
    CHECK(copy.storage_id() != t.storage_id());
    CHECK(copy.to_vector<float>() == rows.to_vector<float>());
    CHECK(t.slice(4, 0).numel() == 0);
    CHECK(t.slice(0, 4).to_vector<float>() == t.to_vector<float>());
    CHECK(t.use_count() == 4);  // t, rows, inner, middle
  }
}

TEST_CASE("tensor: the storage lives as long as any view") {
  for (auto& device : test::test_devices()) {
    const int64_t before = device->memory().current_bytes;
    Tensor view;
    {
      const Tensor t = Tensor::from({3, 2}, counting(6), *device);
      view = t.slice(2, 1);
    }
    CHECK(device->memory().current_bytes > before);
    CHECK(view.to_vector<float>() == std::vector<float>{5, 6});
    view = Tensor();
    CHECK(device->memory().current_bytes == before);
  }
}

TEST_CASE("tensor: in-place changes count as versions of the storage") {
  for (auto& device : test::test_devices()) {
    Tensor t = Tensor::from({4}, counting(4), *device);
    const Tensor view = t.slice(0, 2);
    const uint64_t v0 = t.version();
    CHECK(view.version() == v0);
    t.copy_from(Tensor::zeros({4}, DType::f32, *device));
    CHECK(t.version() > v0);
    CHECK(view.version() == t.version());
    const uint64_t v1 = t.version();
    view.bump_version();
    CHECK(t.version() > v1);
    const uint64_t v2 = t.version();
    t.fill_zero();
    CHECK(t.version() > v2);
    const uint64_t v3 = t.version();
    CHECK(t.to_vector<float>().size() == 4);
    t.clone();
    CHECK(t.version() == v3);  // reading is no change
    const uint64_t id = t.storage_id();
    t = Tensor::empty({4}, DType::f32, *device);
    CHECK(t.storage_id() != id);
  }
}

TEST_CASE("tensor: copies between devices") {
  const auto host = Device::create("cpu");
  for (auto& device : test::test_devices()) {
    CAPTURE(device->name());
    const Tensor source = Tensor::from({2, 3}, counting(6), *host);
    const Tensor there = source.to(*device);
    CHECK(&there.device() == device.get());
    CHECK_FALSE(there.shares_storage(source));
    CHECK(there.to(*device).shares_storage(there));
    const Tensor back = there.to(*host);
    CHECK(back.to_vector<float>() == counting(6));
    Tensor target = Tensor::zeros({4, 3}, DType::f32, *device);
    target.slice(1, 2).copy_from(source);
    CHECK(target.to_vector<float>() == std::vector<float>{0, 0, 0, 1, 2, 3, 4, 5, 6, 0, 0, 0});
    CHECK_THROWS_AS(target.copy_from(source), ArgumentError);  // another shape
    CHECK_THROWS_AS(Tensor::zeros({2, 3}, DType::i32, *device).copy_from(source), ArgumentError);
  }
}

TEST_CASE("tensor: item reads one element of any dtype") {
  for (auto& device : test::test_devices()) {
    CHECK(Tensor::from<float>({}, std::vector{1.5f}, *device).item() == 1.5);
    CHECK(Tensor::from<bf16>({1}, std::vector{bf16(-2.5f)}, *device).item() == -2.5);
    CHECK(Tensor::from<f16>({1, 1}, std::vector{f16(0.25f)}, *device).item() == 0.25);
    CHECK(Tensor::from<double>({}, std::vector{1e-300}, *device).item() == 1e-300);
    CHECK(Tensor::from<int64_t>({}, std::vector{int64_t{-9}}, *device).item() == -9);
    CHECK(Tensor::from<int32_t>({}, std::vector{int32_t{1} << 30}, *device).item() == 1 << 30);
    CHECK(Tensor::from<uint8_t>({}, std::vector{uint8_t{255}}, *device).item() == 255);
    CHECK(Tensor::from<float>({3}, std::vector{1.0f, 2.0f, 3.0f}, *device).slice(1, 1).item() == 2);
    CHECK_THROWS_AS(Tensor::zeros({2}, DType::f32, *device).item(), ArgumentError);
  }
}

TEST_CASE("tensor: misuse is an error that says what was there") {
  const auto device = Device::create("cpu");
  const Tensor t = Tensor::from({2, 3}, counting(6), *device);
  CHECK(describe(t) == "f32 [2,3] on cpu");
  CHECK(message_of<ArgumentError>([&] { t.data<double>(); }) == "tensor: read as f64, but it is f32");
  CHECK_THROWS_AS(t.to_vector<int32_t>(), ArgumentError);
  CHECK_THROWS_AS(t.reshape({7}), ArgumentError);
  constexpr int64_t kMax = std::numeric_limits<int64_t>::max();
  const std::pair<int64_t, int64_t> ranges[] = {{-1, 1}, {0, 3}, {2, 1}, {0, -1}, {kMax, 1}, {1, kMax}, {kMax, kMax}};
  for (const auto& [begin, count] : ranges) {
    CAPTURE(begin);
    CAPTURE(count);
    CHECK_THROWS_AS(t.slice(begin, count), ArgumentError);
  }
  CHECK_THROWS_AS(t.reshape({6}).slice(0, 1).reshape({}).slice(0, 1), ArgumentError);  // a scalar has no rows
  CHECK_THROWS_AS(Tensor::from({2, 2}, counting(3), *device), ArgumentError);
  CHECK_THROWS_AS(Tensor::empty({int64_t{1} << 62}, DType::f64, *device), ArgumentError);

  const Tensor undefined;
  CHECK_FALSE(undefined.defined());
  CHECK(describe(undefined) == "undefined");
  CHECK_THROWS_AS(undefined.device(), ArgumentError);
  CHECK_THROWS_AS(undefined.raw(), ArgumentError);
  CHECK_THROWS_AS(Tensor(t).copy_from(undefined), ArgumentError);
}

TEST_CASE("device: live, peak and reserved bytes") {
  for (auto& device : test::test_devices()) {
    CAPTURE(device->name());
    const MemoryStats before = device->memory();
    Tensor a = Tensor::empty({1 << 20}, DType::u8, *device);
    Tensor b = Tensor::empty({1 << 20}, DType::f32, *device);
    const MemoryStats both = device->memory();
    CHECK(both.current_bytes - before.current_bytes >= 5 << 20);
    CHECK(both.current_bytes - before.current_bytes < 6 << 20);
    CHECK(both.peak_bytes >= both.current_bytes);
    CHECK(both.reserved_bytes >= both.current_bytes);
    b = Tensor();
    CHECK(device->memory().current_bytes - before.current_bytes < 2 << 20);
    CHECK(device->memory().peak_bytes == both.peak_bytes);
    device->reset_peak();
    CHECK(device->memory().peak_bytes == device->memory().current_bytes);
    b = Tensor::empty({1 << 20}, DType::f32, *device);  // from the cache: nothing new is taken
    CHECK(device->memory().reserved_bytes <= both.reserved_bytes);
    a = b = Tensor();
    CHECK(device->memory().current_bytes == before.current_bytes);
    device->release_cached();
    CHECK(device->memory().reserved_bytes == device->memory().current_bytes);
  }
}

TEST_CASE("device: state is made once and kept with the device") {
  struct Counter {
    int count = 0;
  };
  struct Owner {
    explicit Owner(Device& d) : device(&d) {}
    Device* device;
  };
  const auto a = Device::create("cpu"), b = Device::create("cpu");
  a->state<Counter>().count = 3;
  CHECK(a->state<Counter>().count == 3);
  CHECK(b->state<Counter>().count == 0);
  CHECK(a->state<Owner>().device == a.get());
}

TEST_CASE("device: unknown or absent devices are errors that name them") {
  for (const char* spec : {"", "gpu", "cpu:0", "cuda:", "cuda:-1", "cuda:x", "cuda:1x", "CUDA"}) {
    CAPTURE(spec);
    CHECK(message_of<DeviceError>([&] { Device::create(spec); }).find("\"" + std::string(spec) + "\"") !=
          std::string::npos);
  }
  CHECK(Device::create("cpu")->is_cpu());
  CHECK(Device::create("meta")->is_meta());
  if (!Device::cuda_available()) CHECK_THROWS_AS(Device::create("cuda"), DeviceError);
}

TEST_CASE("meta: shapes and memory without values") {
  const auto meta = Device::create("meta");
  const auto host = Device::create("cpu");
  {
    // 4 TiB: nothing is really taken.
    Tensor t = Tensor::zeros({1024, 1024, 1024, 1024}, DType::f32, *meta);
    CHECK(describe(t) == "f32 [1024,1024,1024,1024] on meta");
    CHECK(t.slice(5, 2).reshape({2, int64_t{1} << 30}).shape() == Shape{2, int64_t{1} << 30});
    CHECK(meta->memory().current_bytes == int64_t{1} << 42);
    const Tensor copy = t.clone();
    CHECK(meta->memory().current_bytes == int64_t{1} << 43);
  }
  CHECK(meta->memory().current_bytes == 0);
  CHECK(meta->memory().peak_bytes == int64_t{1} << 43);
  meta->reset_peak();
  CHECK(meta->memory().peak_bytes == 0);

  const Tensor small = Tensor::from({2, 3}, counting(6), *meta);
  CHECK_THROWS_AS(small.to_vector<float>(), DeviceError);
  CHECK_THROWS_AS(small.slice(0, 1).slice(0, 1).reshape({3}).slice(0, 1).item(), DeviceError);
  CHECK_THROWS_AS(small.to(*host), DeviceError);
  CHECK_NOTHROW(Tensor::from({2, 3}, counting(6), *host).to(*meta));
}

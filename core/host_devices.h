// The two devices that need no GPU. Reached through Device::create.
#pragma once

#include <atomic>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "core/device.h"

namespace segrt {

// Host memory. Freed blocks are kept by size and reused: activations of one step have the sizes of the last, and fresh
// pages from the system cost more than the arithmetic of a small layer.
class CpuDevice final : public Device {
 public:
  CpuDevice();
  ~CpuDevice() override;
  void* allocate(size_t nbytes) override;
  void deallocate(void* pointer, size_t nbytes) noexcept override;
  void copy_from_host(void* destination, const void* source, size_t nbytes) override;
  void copy_to_host(void* destination, const void* source, size_t nbytes) override;
  void copy_within(void* destination, const void* source, size_t nbytes) override;
  void* allocate_host(size_t nbytes) override;
  void deallocate_host(void* pointer, size_t nbytes) noexcept override;
  void fill_bytes(void* destination, int value, size_t nbytes) override;
  void synchronize() override {}
  MemoryStats memory() const override;
  void reset_peak() override;
  void release_cached() override;

 private:
  mutable std::mutex mutex_;
  std::unordered_map<size_t, std::vector<void*>> free_;  // by rounded size
  MemoryStats stats_;
};

// Shapes without memory: addresses are null, copies do nothing, reading a value is an error.
class MetaDevice final : public Device {
 public:
  MetaDevice() : Device(DeviceKind::meta, "meta", "meta (shapes only)") {}
  ~MetaDevice() override { clear_states(); }
  void* allocate(size_t nbytes) override;
  void deallocate(void* pointer, size_t nbytes) noexcept override;
  void copy_from_host(void*, const void*, size_t) override {}
  void copy_to_host(void* destination, const void* source, size_t nbytes) override;
  void copy_within(void*, const void*, size_t) override {}
  void* allocate_host(size_t nbytes) override;
  void deallocate_host(void* pointer, size_t nbytes) noexcept override;
  void fill_bytes(void*, int, size_t) override {}
  void synchronize() override {}
  MemoryStats memory() const override { return stats_; }
  void reset_peak() override { stats_.peak_bytes = stats_.current_bytes; }
  void release_cached() override {}

 private:
  MemoryStats stats_;  // as if memory had been taken: a dry run reports the activation memory of a real one
};

}  // namespace segrt

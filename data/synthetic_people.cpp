#include "data/synthetic_people.h"

#include <algorithm>

namespace segrt::data::streets {
namespace {

Clothes random_clothes(const Scene& scene, Dice& dice) {
  auto cloth = [&](double lightest) {
    if (dice.chance(scene.camouflage)) return background_colour(scene, dice);
    if (dice.chance(0.55)) return dice.grey(0.06, lightest);
    return dice.jitter(dice.pick<Colour>({{0.6f, 0.12f, 0.14f},
                                          {0.15f, 0.22f, 0.5f},
                                          {0.2f, 0.4f, 0.25f},
                                          {0.75f, 0.6f, 0.2f},
                                          {0.5f, 0.35f, 0.5f},
                                          {0.45f, 0.33f, 0.22f}}),
                       0.3);
  };
  Clothes clothes;
  clothes.top = cloth(0.85);
  clothes.trousers = cloth(0.45);
  clothes.bag = cloth(0.6);
  clothes.skin =
      dice.jitter(dice.pick<Colour>({{0.82f, 0.63f, 0.52f}, {0.68f, 0.48f, 0.36f}, {0.42f, 0.28f, 0.2f}}), 0.12);
  clothes.hair = dice.jitter(
      dice.pick<Colour>({{0.1f, 0.08f, 0.07f}, {0.3f, 0.2f, 0.12f}, {0.6f, 0.48f, 0.3f}, {0.55f, 0.55f, 0.55f}}), 0.2);
  clothes.skirt = dice.chance(0.15);
  clothes.carries = dice.chance(0.35);
  clothes.hat = dice.chance(0.2);
  return clothes;
}

void add_pedestrian(Scene& scene, Dice& dice, double lateral, double along) {
  Pedestrian person;
  person.foot = scene.street.place(lateral, along);
  person.height = dice.chance(0.12) ? dice.range(1.0, 1.45) : dice.range(1.55, 1.92);
  person.girth = dice.range(0.85, 1.25);
  person.stride = dice.chance(0.7) ? dice.range(-1, 1) : dice.range(-0.2, 0.2);
  person.swing = person.stride * dice.range(0.4, 1);
  person.clothes = random_clothes(scene, dice);
  scene.cast_shadow(person.foot, 0.22, person.height);
  scene.add(along, [person](Painter& painter) { draw_pedestrian(painter, person); });
}

void add_two_wheeler(Scene& scene, Dice& dice, double lateral, double along, Turn heading, bool motor, bool ridden) {
  TwoWheeler bike{scene.street.place(lateral, along), heading,          motor, ridden, {},
                  random_clothes(scene, dice),        dice.range(-1, 1)};
  bike.frame =
      dice.chance(0.5)
          ? dice.grey(0.05, 0.5)
          : dice.jitter(
                dice.pick<Colour>({{0.6f, 0.1f, 0.1f}, {0.1f, 0.25f, 0.5f}, {0.15f, 0.4f, 0.25f}, {0.7f, 0.6f, 0.15f}}),
                0.3);
  scene.cast_shadow(footprint(bike.foot, heading, 0.8, motor ? 0.2 : 0.08), ridden ? 1.5 : 0.7);
  scene.add(along, [bike](Painter& painter) { draw_two_wheeler(painter, bike); });
}

void plan_walkers(Scene& scene, Dice& dice, int side) {
  const Street& street = scene.street;
  const Side& plan = street.sides[static_cast<size_t>(side)];
  const double busy = plan.district == District::city ? 1 : plan.district == District::boulevard ? 0.8 : 0.4;
  const int groups = static_cast<int>(dice.range(0, 11) * busy);
  for (int k = 0; k < groups; ++k) {
    const double near = dice.range(0, 1);
    const double along = 7 + 60 * near * near;
    const int members = dice.chance(0.3) ? dice.count(2, 4) : 1;
    for (int m = 0; m < members; ++m) {
      const double lateral = plan.kerb + dice.range(0.5, std::max(0.8, plan.building_line - plan.kerb - 0.4));
      const double shift = dice.range(-0.8, 0.8);
      add_pedestrian(scene, dice, Street::sign(side) * lateral, along + shift);
    }
  }
}

void plan_crossing_people(Scene& scene, Dice& dice) {
  const Street& street = scene.street;
  for (const double z : street.zebras) {
    if (z < 6) continue;
    const int people = dice.count(0, 4);
    for (int k = 0; k < people; ++k) {
      const double lateral = dice.range(-street.sides[0].kerb, street.sides[1].kerb);
      const double along = z + dice.range(0.3, 3.2);
      add_pedestrian(scene, dice, lateral, along);
    }
  }
  if (!dice.chance(0.25)) return;
  const double along = dice.range(10, 40);
  const double lateral = dice.range(-street.sides[0].kerb, street.sides[1].kerb);
  add_pedestrian(scene, dice, lateral, along);
}

void plan_two_wheelers(Scene& scene, Dice& dice) {
  const Street& street = scene.street;
  const int riders = dice.count(0, 4);
  for (int k = 0; k < riders; ++k) {
    const int side = dice.count(0, 1);
    const Side& plan = street.sides[static_cast<size_t>(side)];
    const double lateral = Street::sign(side) * (plan.kerb - (plan.parking ? 2.6 : 0.7) - dice.range(0, 0.6));
    const double near = dice.range(0, 1);
    const double along = 6.5 + 34 * near * near;
    const bool motor = dice.chance(0.4), across = dice.chance(0.35);
    const double lean = dice.range(-0.15, 0.15);
    Turn heading = half_tangent(across ? dice.pick<double>({-1.0, 1.0}) + lean : lean);
    if (side == 0 && !across) heading = {-heading.cosine, heading.sine};
    const double at = across ? lateral * dice.range(0.2, 1) : lateral;
    add_two_wheeler(scene, dice, at, along, heading, motor, true);
  }
  const int stands = dice.count(0, 3);  // parked ones, often in a row
  for (int k = 0; k < stands; ++k) {
    const int side = dice.count(0, 1);
    const double kerb = street.sides[static_cast<size_t>(side)].kerb, first = dice.range(6, 36);
    const bool motor = dice.chance(0.4);
    const int row = dice.count(1, motor ? 3 : 6);
    const Turn heading = half_tangent(dice.chance(0.5) ? dice.range(0.7, 1.2) : dice.range(-0.3, 0.3));
    for (int n = 0; n < row; ++n) {
      const double along = first + n * (motor ? 1.1 : 0.7),
                   lateral = Street::sign(side) * (kerb + dice.range(0.7, 1.2));
      if (!street.in_crossing(along, side, 1)) add_two_wheeler(scene, dice, lateral, along, heading, motor, false);
    }
  }
}

}  // namespace

void plan_people(Scene& scene, Dice dice) {
  for (int side = 0; side < 2; ++side) plan_walkers(scene, dice, side);
  plan_crossing_people(scene, dice);
  plan_two_wheelers(scene, dice);
}

}  // namespace segrt::data::streets
